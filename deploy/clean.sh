#!/usr/bin/env bash
# Removes from Snowflake what deploy.sh made there, after asking.
# Variables are used by their names, in `render`.
# shellcheck disable=SC2034
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<END
Usage: deploy/clean.sh [OPTIONS]

Drops all that deploy.sh made: services, compute pools, database with tables, stage, runs, models and images,
warehouse, role. The app's records are on a volume of its service: they are lost, too. It asks first. What
deploy.sh did not make stays, whatever its name.

$CONNECTION_HELP
  -y, --yes, --force        do not ask
END
}

parse_shared "$@"
yes=false
set -- ${rest[@]+"${rest[@]}"}
for option; do
    case "$option" in
        -y | --yes | --force) yes=true ;;
        *) usage_error "unknown option $option" ;;
    esac
done
need_snow

current_step="Look what is there"
all="$(owned)"
if $dry_run; then
    ours="$(printf 'database\t%s\npool\t%s\npool\t%s\nwarehouse\t%s\nrole\t%s\n' \
        "$database" "$training_pool" "$service_pool" "$warehouse" "$role")"
else
    foreign="$(printf '%s\n' "$all" | awk -F '\t' '$3 == "no" { print "  " $1 " " $2 }')"
    [ -z "$foreign" ] || printf 'Not made by deploy.sh, so they stay:\n%s\n' "$foreign"
    # The services go with the database, before their pools; the role goes last.
    ours="$(printf '%s\n' "$all" | awk -F '\t' '
        BEGIN { order["database"] = 1; order["pool"] = 2; order["warehouse"] = 3; order["role"] = 4 }
        $3 == "yes" { print order[$1] "\t" $1 "\t" $2 }' | sort | cut -f 2,3)"
    if [ -z "$ours" ]; then
        say "There is nothing to drop."
        exit 0
    fi
    printf 'To be dropped, for good:\n%s\n' "$(printf '%s\n' "$ours" | tr '\t' ' ' | sed 's/^/  /')"
    if ! $yes; then
        [ -t 0 ] ||
            fail "nothing was dropped: there is no terminal to ask at. --yes drops without asking."
        printf 'Type %s to drop all of this: ' "$prefix"
        read -r answer || answer=''
        [ "$answer" = "$prefix" ] || fail "nothing was dropped"
    fi
fi

while IFS=$'\t' read -r kind object; do
    step "Drop the $kind $object"
    execute "drop_$kind.sql"
done <<<"$ours"
$dry_run || say "
All is dropped. deploy/deploy.sh sets it up again."
