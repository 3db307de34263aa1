#!/bin/sh
# The environment of the centre: finds a Python, makes a virtual environment, installs what requirements.lock names.
# Used by `make run`, and by ./run where there is no make. $1 is the environment's folder. Whatever is missing is
# one line with its cause, and one with the command that helps.
set -u
venv=${1:-.venv}

fail() { # cause, command
    echo "error: $1" >&2
    echo "  → $2" >&2
    exit 1
}

# The command that installs system packages here: names of Debian and Ubuntu, then of Rocky and its kin.
packages() {
    sudo=
    [ "$(id -u)" = 0 ] || sudo="sudo "
    if command -v apt-get >/dev/null 2>&1; then echo "${sudo}apt-get update && ${sudo}apt-get install -y $1"
    elif command -v dnf >/dev/null 2>&1; then echo "${sudo}dnf install -y $2"
    else echo "install Python 3.11 or newer with its venv module by this system's packages"
    fi
}

find_python() { # sets python, or says why there is none
    old= bare=
    for candidate in ${PYTHON:-} python3.13 python3.12 python3.11 python3.14 python3; do
        version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        case $version in
            3.[0-9] | 3.10 | 2.* | "") old="${old:-$version}"; continue ;;
        esac
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            python=$candidate
            return
        fi
        bare="${bare:-$version}"
    done
    if [ -n "$bare" ]; then
        fail "Python $bare has no venv module" "$(packages "python$bare-venv" "python$bare"), then the same command again"
    elif [ -n "$old" ]; then
        fail "Python $old is too old: 3.11 or newer is needed" "$(packages "python3.11 python3.11-venv" python3.11), then the same command again"
    fi
    new=python3 # but where that is too old itself
    if grep -qs '^VERSION_ID="22.04"' "${SOC_OS_RELEASE:-/etc/os-release}"; then new=python3.11; fi
    fail "no Python is installed" "$(packages "$new $new-venv" python3.11), then the same command again"
}

install() { # pip's arguments
    "$venv/bin/python" -m pip install --disable-pip-version-check --retries 2 --timeout 20 "$@" >"$venv/pip.log" 2>&1 && return
    if grep -qiE "no space left" "$venv/pip.log"; then
        fail "the disk is full" "make room (1 GB is enough), then the same command again; df -h . shows how much there is"
    elif grep -qE "CERTIFICATE_VERIFY_FAILED|SSLError" "$venv/pip.log"; then
        fail "the package index is reached, but its certificate is not trusted: a proxy on the way opens TLS" \
            "PIP_CERT=/path/to/the/proxy's/authority.pem in front of the same command"
    elif grep -qE "NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|name resolution|Network is unreachable|Max retries exceeded" "$venv/pip.log"; then
        echo "error: no network: the package index cannot be reached" >&2
        echo "  → behind a proxy: HTTPS_PROXY=http://PROXY:PORT in front of the same command" >&2
        echo "  → without internet: elsewhere, with Python $("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')," \
            "pip download -r requirements.lock -d wheels; copy wheels/ here;" \
            "then PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels in front of the same command" >&2
        exit 1
    elif grep -qE "THESE PACKAGES DO NOT MATCH THE HASHES" "$venv/pip.log"; then
        fail "the package index gave other files than requirements.lock names" "use another index; $venv/pip.log says which file"
    elif grep -qE "No matching distribution|Could not find a version" "$venv/pip.log"; then
        fail "$(grep -m 1 -oE "No matching distribution found for [^ ]*" "$venv/pip.log" || echo "a package was not found")" \
            "the index or PIP_FIND_LINKS lacks it for this Python and machine; $venv/pip.log says more"
    fi
    fail "$(grep -m 1 -i "^error" "$venv/pip.log" | cut -c 1-300 || true)" "all that pip said is in $venv/pip.log"
}

if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then # none yet, or its Python is gone
    find_python
    rm -rf "$venv"
    "$python" -m venv "$venv" || fail "$python could not make $venv" "look at what it said above"
fi
if [ ! -e "$venv/run.stamp" ] || [ requirements.lock -nt "$venv/run.stamp" ] || [ pyproject.toml -nt "$venv/run.stamp" ]; then
    echo "Installing the centre into $venv (the first time takes a minute) …"
    install --require-hashes -r requirements.lock
    install --no-deps --no-build-isolation -e .
    touch "$venv/run.stamp"
fi
