#!/bin/sh
# From nothing to the first alert: a bare Debian or Ubuntu is made in a folder, this clone put into it, and what a newcomer types is typed.
# Needs root, debootstrap, a mirror and the package index. Loopback only; everything it starts ends with it.
#   sudo scripts/bare_image.sh bookworm http://deb.debian.org/debian /tmp/bare "python3 python3-venv"
set -eu
suite=$1 mirror=$2 folder=$3 packages=$4
clone=$(cd "$(dirname "$0")/.." && pwd)

[ -d "$folder/usr/bin" ] || debootstrap --variant=minbase --components="${COMPONENTS:-main}" "$suite" "$mirror" "$folder" >&2
case $mirror in */ubuntu*) echo "deb $mirror $suite-updates main universe" >"$folder/etc/apt/sources.list.d/updates.list" ;; esac
rm -rf "$folder/opt/soc"
git clone -q "$clone" "$folder/opt/soc"
cp -L /etc/resolv.conf /etc/hosts "$folder/etc/"
mkdir -p "$folder/etc/trust"
cp -L /etc/ssl/certs/ca-certificates.crt "$folder/etc/trust/"

cat >"$folder/opt/hour.sh" <<'HOUR'
cd /opt/soc
since() { echo "$(( $(date +%s) - began )) s: $*"; }
./run 2>&1 | sed 's/^/    /' || true
apt-get update -q >/dev/null 2>&1
DEBIAN_FRONTEND=noninteractive apt-get install -y $PACKAGES >/tmp/apt.log 2>&1 || { tail -n 5 /tmp/apt.log; exit 1; }
began=$(date +%s)
./run >/tmp/run.log 2>&1 & run=$!
until grep -q "setup?token" /tmp/run.log; do sleep 1; kill -0 $run || { cat /tmp/run.log; exit 1; }; done
since "the set-up link"
until .venv/bin/soc alerts list --json 2>/dev/null | grep -q '"id"'; do sleep 1; kill -0 $run; done
since "the first alert; $(.venv/bin/soc events count) events"
kill -TERM $run; wait $run && since "stopped"
HOUR

exec unshare --mount --pid --fork --kill-child --uts sh -c '
    mount --make-rprivate / && mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/run" && mount --rbind /dev "$0/dev" && hostname bare
    exec timeout 900 chroot "$0" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PACKAGES="$1" \
        PIP_CERT=/etc/trust/ca-certificates.crt SOC_CONSOLE__PORT=24001 SOC_GATEWAY__PORT=24002 SOC_SYSLOG__PORT=24003 sh -eu /opt/hour.sh' "$folder" "$packages"
