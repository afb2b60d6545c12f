# One static binary in an empty image; the argument is the role:
#
#   docker build -t grandstand .
#   docker run --rm -p 127.0.0.1:8080:8080 grandstand demo --listen :8080 --insecure
#
# Bases and the module proxy are arguments, so that it builds where only
# mirrors can be reached. GO_BASE needs Go (see go.mod) and CA certificates.
ARG GO_BASE=golang:1.26-bookworm
ARG RUN_BASE=scratch

FROM ${GO_BASE} AS build
ARG GOPROXY=https://proxy.golang.org,direct
ARG VERSION=container
ENV CGO_ENABLED=0 GOFLAGS=-buildvcs=false GOTOOLCHAIN=local
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/grandstand ./cmd/grandstand
# What the process writes: new volumes that are mounted here get this owner.
RUN mkdir -p /out/own/data/archive /out/own/data/journal && mkdir -m 1777 /out/own/tmp

FROM ${RUN_BASE}
LABEL org.opencontainers.image.title="Grandstand" org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/own/ /
COPY --from=build /out/grandstand /grandstand
USER 65532:65532
# Players, peers, metrics and health.
EXPOSE 8080 7070 9090
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["/grandstand", "health"]
ENTRYPOINT ["/grandstand"]
CMD ["--help"]
