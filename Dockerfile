# syntax=docker/dockerfile:1
# One target a service: docker build --target router -t clarion-router .
FROM python:3.11-slim AS build
WORKDIR /src
RUN python -m venv /venv
COPY requirements/bootstrap.lock requirements/services.lock requirements/
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/bootstrap.lock \
    && /venv/bin/uv pip install --python /venv/bin/python --require-hashes -r requirements/services.lock
COPY packages/contracts packages/contracts
COPY packages/runtime packages/runtime
COPY services services
RUN /venv/bin/uv pip install --python /venv/bin/python --no-deps --no-build-isolation \
        ./packages/contracts ./packages/runtime ./services/* \
    && /venv/bin/uv pip uninstall --python /venv/bin/python uv uv-build \
    && /venv/bin/python -m compileall -q /venv/lib

FROM python:3.11-slim AS service
RUN useradd --system --uid 10001 --no-create-home clarion
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 CLARION_LISTEN=0.0.0.0:50051
USER 10001
EXPOSE 50051

FROM service AS router
ENTRYPOINT ["clarion-router"]

# Several in one process: docker run clarion-host router recipients ratelimit templating
FROM service AS host
ENTRYPOINT ["clarion-host"]

FROM service AS templating
ENTRYPOINT ["clarion-templating"]

FROM service AS ratelimit
ENTRYPOINT ["clarion-ratelimit"]

FROM service AS push
ENTRYPOINT ["clarion-push"]

FROM service AS email
ENTRYPOINT ["clarion-email"]

FROM service AS sms
ENTRYPOINT ["clarion-sms"]

FROM service AS inapp
ENTRYPOINT ["clarion-inapp"]

FROM service AS recipients
ENTRYPOINT ["clarion-recipients"]

FROM service AS tracking
ENTRYPOINT ["clarion-tracking"]
