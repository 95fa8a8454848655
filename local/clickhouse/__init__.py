"""ClickHouse's HTTP interface in front of one embedded engine (chDB), for one machine.

The engine allows one process per data folder. This server is that process; clients connect to it
over HTTP, as to any ClickHouse. It is for development and tests and listens on loopback only.
"""
