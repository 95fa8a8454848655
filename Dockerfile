FROM apache/airflow:slim-3.3.2-python3.12
USER root
RUN install -d -o airflow /opt/sluice/state
USER airflow
WORKDIR /opt/sluice
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt psycopg2-binary==2.9.13
COPY . .
