# syntax=docker/dockerfile:1

# Everything is built once; the images below take what they need.
FROM rust:1-slim-bookworm AS build
WORKDIR /stepwell
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/stepwell/target \
    cargo build --release --locked --bins -p stepwell-cli -p document-pipeline -p order-saga \
    && mkdir /out \
    && cp target/release/stepwell target/release/document-pipeline target/release/order-saga /out/

# What all images have in common: certificates, and a user without rights.
FROM debian:bookworm-slim AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /data stepwell
USER stepwell
WORKDIR /data
STOPSIGNAL SIGTERM

# The workers of both examples.
FROM base AS examples
COPY --from=build /out/document-pipeline /out/order-saga /usr/local/bin/
COPY examples/document_pipeline/documents /documents
ENV DOCUMENTS_DIR=/documents RESULTS_DIR=/data/results BOOKS=/data/books.jsonl

# The orchestrator, which is also the command line. The last one: `docker build .` makes it.
FROM base AS stepwell
COPY --from=build /out/stepwell /usr/local/bin/
ENV STEPWELL_LISTEN=0.0.0.0:9090
EXPOSE 9090
ENTRYPOINT ["stepwell"]
CMD ["orchestrator"]
