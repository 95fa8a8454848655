"""ClickHouse's HTTP interface in front of one embedded engine (chDB), for one machine.

The engine allows one process to a data folder; this server is that process, and everything
else talks HTTP to it as to any ClickHouse. For development and tests: loopback only.
"""
