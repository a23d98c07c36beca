#!/usr/bin/env bash
# What is there, and what it does: compute pools, warehouse, services, tables, files on the stage.
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<END
Usage: deploy/status.sh [OPTIONS]

Shows compute pools, warehouse, services, tables and the stage's files. A pool costs while its state is IDLE,
ACTIVE, STOPPING or RESIZING.

$CONNECTION_HELP
END
}

parse_shared "$@"
[ ${#rest[@]} -eq 0 ] || usage_error "unknown option ${rest[0]}"
need_snow
sql status.sql TABLE
