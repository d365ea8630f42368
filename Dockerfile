# The service alone: PostgreSQL and Redis or Valkey are elsewhere (docker-compose.yml has an example).
FROM python:3.11-slim

WORKDIR /srv/orders
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

COPY requirements/runtime.txt requirements/runtime.txt
RUN pip install --require-hashes -r requirements/runtime.txt

COPY access access
COPY command command
COPY console console
COPY contract contract
COPY database database
COPY eventlog eventlog
COPY feed feed
COPY migrations migrations
COPY orders.py orders.py
COPY projector projector
COPY query query
COPY readmodel readmodel
COPY service service
COPY timeline timeline

# The packages are found here; `orders` is what the project's own script would be.
ENV PYTHONPATH=/srv/orders
RUN printf '#!/bin/sh\nexec python -P -m orders "$@"\n' > /usr/local/bin/orders \
    && chmod +x /usr/local/bin/orders \
    && useradd --system --no-create-home --uid 10001 orders
# A number: Kubernetes checks runAsNonRoot without reading the image's list of users.
USER 10001

EXPOSE 8000
CMD ["orders", "serve", "--host", "0.0.0.0"]
