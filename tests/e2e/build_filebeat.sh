#!/usr/bin/env bash
# Builds Filebeat (Apache licence, as a Go module) for tests/e2e/test_senders.py: build_filebeat.sh FOLDER. Needs Go, two minutes, 3 GB.
set -euo pipefail
into=$(cd "$1" && pwd)
version=${FILEBEAT_VERSION:-v7.17.28}
beats=github.com/elastic/beats/v7
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOFLAGS="-modcacherw -mod=mod"

printf 'module filebeat\n' >go.mod
source=$(go mod download -json "$beats@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
# What a module replaces counts only where it is the main one: its list is taken over.
{ printf 'module filebeat\n\n'; grep '^go ' "$source/go.mod"; printf '\nrequire %s %s\n\n' "$beats" "$version"; sed -n '/^replace/,$p' "$source/go.mod"; } >go.mod
cp "$source/go.sum" .
cp "$source/filebeat/main.go" .
go build -o "$into/filebeat" .
"$into/filebeat" version
