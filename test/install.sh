#!/usr/bin/env bash
# Installs what the tests need and is not there yet: Debian packages, and
# programs built from the module proxy at the versions below. Nothing is built
# or fetched twice.
set -euo pipefail
cd "$(dirname "$0")"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/ipfs-registry-test
bin=$cache/bin
mkdir -p "$bin"

packages=(
	runc crun skopeo podman buildah umoci docker.io docker-compose fuse3 stargz-snapshotter
	nginx-light wrk debootstrap busybox-static iproute2 iptables containernetworking-plugins
	openssl util-linux e2fsprogs systemd ca-certificates gcc libc6-dev
)

# name, module, version, package
tools=(
	"ipfs github.com/ipfs/kubo v0.43.0 cmd/ipfs"
	"containerd github.com/containerd/containerd/v2 v2.4.2 cmd/containerd"
	"containerd-shim-runc-v2 github.com/containerd/containerd/v2 v2.4.2 cmd/containerd-shim-runc-v2"
	"ctr github.com/containerd/containerd/v2 v2.4.2 cmd/ctr"
	"nerdctl github.com/containerd/nerdctl/v2 v2.1.2 cmd/nerdctl"
	"buildkitd github.com/moby/buildkit v0.30.0 cmd/buildkitd"
	"buildctl github.com/moby/buildkit v0.30.0 cmd/buildctl"
	"registry github.com/distribution/distribution/v3 v3.1.2 cmd/registry"
	"crane github.com/google/go-containerregistry v0.22.1 cmd/crane"
	"cosign github.com/sigstore/cosign/v3 v3.0.6 cmd/cosign"
	"ipfs-cluster-service github.com/ipfs-cluster/ipfs-cluster v1.1.6 cmd/ipfs-cluster-service"
	"toxiproxy-server github.com/Shopify/toxiproxy/v2 v2.12.0 cmd/server"
)

missing=()
for package in "${packages[@]}"; do
	status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	echo "installing ${missing[*]}"
	# The services that come with the packages are not needed: the tests start
	# their own. Where a file here says so, Debian's scripts do not start them.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
		$sudo chmod 755 $policy
		trap '$sudo rm -f $policy' EXIT
	fi
	$sudo apt-get update -q
	DEBIAN_FRONTEND=noninteractive $sudo apt-get install -qy --no-install-recommends "${missing[@]}"
fi

# is_built tells by what Go wrote into the program whether it is that version.
is_built() { # name module version
	[ -x "$bin/$1" ] && go version -m "$bin/$1" | grep -qE "^\s+(dep|mod)\s+$2\s+$3(\s|$)"
}

# "go install" refuses programs whose go.mod excludes or replaces something, so
# a module of our own requires them. CGO is off so that nothing else is needed.
for tool in "${tools[@]}"; do
	read -r name module version package <<<"$tool"
	if is_built "$name" "$module" "$version"; then
		continue
	fi
	echo "building $name $version"
	dir=$(mktemp -d)
	printf 'module tools\n\ngo 1.26\n\nrequire %s %s\n' "$module" "$version" >"$dir/go.mod"
	(cd "$dir" && CGO_ENABLED=0 go build -mod=mod -o "$bin/$name.new" "$module/$package")
	mv "$bin/$name.new" "$bin/$name"
	rm -r "$dir"
done

# Our own program around stargz-snapshotter: see stargz/main.go. Go's cache
# knows whether there is something to do.
(cd stargz && CGO_ENABLED=0 go build -o "$bin/stargz" .)
# And what stands for a kubelet: see cri/main.go.
(cd cri && CGO_ENABLED=0 go build -o "$bin/cri" .)
