# One static program and an empty directory for its repository. "make build"
# makes both; this only packs them, so it needs neither a base image nor a
# network, and any builder will do:
#
#   make build && docker build -t ipfs-registry .
#   docker run -d --name ipfs-registry -v ipfs-registry:/data \
#     -p 127.0.0.1:5050:5050 -p 4001:4001 -p 4001:4001/udp ipfs-registry
#
# For another architecture: GOARCH=arm64 make build, and --platform linux/arm64.
FROM scratch
COPY bin/ipfs-registry /ipfs-registry
# 65532 is the number that images without users commonly call nonroot.
COPY --chown=65532:65532 bin/data /data
USER 65532:65532
# In a container, localhost would be the container itself.
ENV IPFS_REGISTRY_REPO=/data \
    IPFS_REGISTRY_LISTEN=0.0.0.0:5050 \
    IPFS_REGISTRY_ADMIN=0.0.0.0:5051
VOLUME /data
# The registry, the admin pages, the IPFS swarm.
EXPOSE 5050 5051 4001/tcp 4001/udp
STOPSIGNAL SIGTERM
ENTRYPOINT ["/ipfs-registry"]
CMD ["serve"]
