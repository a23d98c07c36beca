# What deploy.sh, run.sh, status.sh and clean.sh share: options, names, and the one way in which statements
# and commands are run. They source it.
# shellcheck shell=bash
# Variables are used by their names, in `render`, and by the scripts.
# shellcheck disable=SC2034

set -euo pipefail
# Since bash 5.2 `&` in a replacement stands for what was found.
shopt -u patsub_replacement 2>/dev/null || true

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
repository="$(dirname "$here")"
program="${0##*/}"

# A dry run prints its statements here, also where the answer of a statement would be caught.
exec 3>&1

fail() {
    printf '%s: %s\n' "$program" "$1" >&2
    exit "${2:-1}"
}

usage_error() {
    fail "$1 (--help lists the options)" 2
}

step() {
    current_step="$1"
    printf '\n== %s\n' "$1"
}

say() {
    printf '%s\n' "$1"
}

CONNECTION_HELP="\
Connection, as in the \`snow\` command line:
  -c, --connection NAME     a connection of Snowflake's config.toml or connections.toml (default: demo)
  -x, --temporary-connection  use the options below only, no file
      --account NAME
      --user NAME
      --authenticator TYPE  for example externalbrowser
      --private-key-file FILE
      --role NAME           the role that makes and drops the account's objects (default: ACCOUNTADMIN)
      --database NAME
      --schema NAME
      --warehouse NAME
  A password never goes on a command line: put it into the connection, or into SNOWFLAKE_PASSWORD. The
  passphrase of a private key is PRIVATE_KEY_PASSPHRASE.

Names and safety:
  -p, --prefix NAME         what all objects' names begin with (default: PCB_CV)
      --dry-run             print each statement and command, and run none of them
  -h, --help"

prefix=PCB_CV
admin_role=ACCOUNTADMIN
dry_run=false
connection_name=demo
temporary=false
connection=()
rest=()

# A word of the command line that goes to `snow` as it is.
plain() {
    [[ "$2" =~ ^[A-Za-z0-9_][A-Za-z0-9_.@+-]*$ ]] ||
        usage_error "$1 takes letters, digits and any of _ . @ + -, not '$2'"
}

# An unquoted identifier of Snowflake's.
identifier() {
    [[ "$2" =~ ^[A-Za-z][A-Za-z0-9_]{0,99}$ ]] ||
        usage_error "$1 takes a letter, then letters, digits and _, not '$2'"
}

# Paths become part of a quoted PUT statement, in which * and ? would be patterns.
plain_path() {
    case "$2" in
        '' | *[\'\"\\*?$'\n'$'\r']*)
            usage_error "$1: a path without quotes, \\, *, ? and line ends, not '$2'"
            ;;
    esac
}

absolute() {
    case "$1" in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s/%s\n' "$PWD" "$1" ;;
    esac
}

# Takes the shared options; what it does not know is left in `rest`, for the script's own.
parse_shared() {
    local option overrides=()
    while [ $# -gt 0 ]; do
        option="$1"
        case "$option" in
            -h | --help)
                usage
                exit 0
                ;;
            --dry-run) dry_run=true ;;
            -x | --temporary-connection) temporary=true ;;
            --password | --password=*)
                usage_error "no password on the command line, where others see it: use the connection's \
file, SNOWFLAKE_PASSWORD, or --private-key-file"
                ;;
            -c | --connection | --environment | -p | --prefix | --account | --accountname | --user | \
                --username | --authenticator | --private-key-file | --private-key-path | --role | \
                --rolename | --database | --dbname | --schema | --schemaname | --warehouse)
                [ $# -ge 2 ] || usage_error "$option takes a value"
                shift
                case "$option" in
                    -p | --prefix)
                        identifier "$option" "$1"
                        prefix="$(printf '%s' "$1" | tr '[:lower:]' '[:upper:]')"
                        ;;
                    -c | --connection | --environment)
                        plain "$option" "$1"
                        connection_name="$1"
                        ;;
                    --private-key-file | --private-key-path)
                        plain_path "$option" "$1"
                        [ -r "$1" ] || usage_error "$option: $1 cannot be read"
                        overrides+=(--private-key-file "$1")
                        ;;
                    --role | --rolename)
                        identifier "$option" "$1"
                        admin_role="$1"
                        overrides+=(--role "$1")
                        ;;
                    *)
                        plain "$option" "$1"
                        overrides+=("$option" "$1")
                        ;;
                esac
                ;;
            *) rest+=("$1") ;;
        esac
        shift
    done
    if $temporary; then
        [ ${#overrides[@]} -gt 0 ] || usage_error "--temporary-connection needs at least --account and --user"
        connection=(--temporary-connection)
    else
        connection=(--connection "$connection_name")
    fi
    [ ${#overrides[@]} -eq 0 ] || connection+=("${overrides[@]}")
    name_objects
}

# The names of the guide that this follows; what it does not have is named in the same way.
name_objects() {
    database="$prefix"
    schema="$prefix.PUBLIC"
    role="${prefix}_ROLE"
    warehouse="${prefix}_WH"
    stage="$schema.${prefix}_DEEP_PCB_DATASET_STAGE"
    training_pool="${prefix}_COMPUTEPOOL"
    service_pool="${prefix}_SERVICE_COMPUTEPOOL"
    images="$schema.IMAGE_REPO"
    # As services name it.
    image_path="$(printf '/%s/public/image_repo' "$database" | tr '[:upper:]' '[:lower:]')"
    workers="${prefix}_WORKERS"
    trainer="${prefix}_TRAINER"
    app="${prefix}_DEFECT_DETECTION_APP"
    worker_token="$schema.${prefix}_WORKER_TOKEN"
    app_token="$schema.${prefix}_APP_TOKEN"
    # Marks what deploy.sh made, so that clean.sh drops nothing else.
    mark="made by faster-rcnn, deploy.sh"
}

# The image's tag says what was built: version, commit, and a hash of changes that are not committed.
image_tag() {
    local tag commit changes
    tag="$(sed -n 's/^version = "\(.*\)"$/\1/p' "$repository/Cargo.toml" | head -n 1)"
    if commit="$(git -C "$repository" rev-parse --short=12 HEAD 2>/dev/null)"; then
        tag="$tag-$commit"
        changes="$(git -C "$repository" diff HEAD 2>/dev/null | cksum | cut -d ' ' -f 1)"
        git -C "$repository" diff --quiet HEAD 2>/dev/null || tag="$tag-$changes"
    fi
    printf '%s\n' "$tag"
}

need() {
    $dry_run && return
    command -v "$1" >/dev/null 2>&1 || fail "$1 is not on the PATH: $2"
}

need_snow() {
    need snow "install Snowflake's command line, for example by pipx install snowflake-cli"
}

# Puts the variables named by <% NAME %> into a file.
render() {
    local text name value
    text="$(<"$1")"
    while [[ "$text" =~ \<%\ ([a-z_]+)\ %\> ]]; do
        name="${BASH_REMATCH[1]}"
        value="${!name?"$1 has a variable that is not set"}"
        case "$value" in *'<% '*) fail "$1: the value of $name has a variable in it" ;; esac
        text="${text//"<% $name %>"/$value}"
    done
    printf '%s\n' "$text"
}

# Where a step ends early. Every step may be run again: what is there stays, what is missing is made.
stopped() {
    printf '\n%s stopped in: %s\n%s\nRun the same command again when that is mended: it goes on there.\n' \
        "$program" "${current_step:-the beginning}" "$1" >&2
    exit 1
}

# Runs the statements of deploy/sql/$1, and prints the answers in the format $2, else as JSON. The statements
# go through standard input, where nobody else sees them, and `snow` replaces no variables in them. What is in
# `secret` is printed nowhere.
secret=''
sql() {
    local statements output status=0
    statements="$(render "$here/sql/$1")" || exit 1
    if $dry_run; then
        printf -- '-- snow sql --stdin%s\n%s\n' "$(printf ' %q' "${connection[@]}")" "$statements" >&3
        return
    fi
    output="$(printf '%s\n' "$statements" |
        snow sql --stdin --enable-templating NONE --format "${2:-JSON}" "${connection[@]}" 2>&1)" || status=$?
    [ -z "$secret" ] || output="${output//"$secret"/********}"
    [ "$status" -eq 0 ] || stopped "The statements of deploy/sql/$1 failed. $output"
    printf '%s\n' "$output"
}

# The same for statements whose answers say nothing new.
execute() {
    sql "$1" >/dev/null
}

# Runs a command, or prints it.
command_line() {
    if $dry_run; then
        printf '$%s\n' "$(printf ' %q' "$@")"
        return
    fi
    "$@" || stopped "The command failed:$(printf ' %q' "$@")"
}

# The values of one field of the JSON that `snow` prints, each on its own line.
field() {
    { grep -oE "\"$1\" *: *\"[^\"]*\"" || true; } | sed -E 's/^"[^"]*" *: *"(.*)"$/\1/'
}

# The state of a service or a job: PENDING, RUNNING, DONE, FAILED, SUSPENDED, ...; empty where there is none.
# Other statements have a status, too, which is a sentence.
state_of() {
    service="$1"
    sql service.sql | field status | { grep -xE '[A-Z_]+' || true; } | sed -n 1p
}

# What there is of the account's objects with our names: kind, name, and whether deploy.sh made it, yes or no.
owned() {
    sql owned.sql | { grep -oE '"(name|comment)" *: *("[^"]*"|null)' || true; } |
        awk -F '"' -v mark="$mark" -v pools="$training_pool $service_pool" \
            -v role="$role" -v warehouse="$warehouse" -v database="$database" '
            BEGIN {
                kind[role] = "role"; kind[warehouse] = "warehouse"; kind[database] = "database"
                split(pools, names, " "); for (i in names) kind[names[i]] = "pool"
            }
            $2 == "name" { name = $4 }
            $2 == "comment" && (name in kind) {
                print kind[name] "\t" name "\t" ($4 == mark ? "yes" : "no")
                name = ""
            }'
}

# The models of the stage, oldest first: their names are times.
models() {
    sql stage.sql | field name | { grep -oE 'models/[^/]+\.safetensors$' || true; } |
        sed 's|^models/||' | sort
}

# Makes a service, or gives it another specification: name, pool, how many, file of deploy/services.
put_service() {
    local state
    state="$(state_of "$1")"
    service="$1"
    pool="$2"
    instances="$3"
    specification="$(render "$here/services/$4")"
    if [ -z "$state" ]; then
        execute create_service.sql
    else
        execute change_service.sql
        [ "$state" != SUSPENDED ] || execute resume_service.sql
    fi
}

# Makes the app, or gives it another model: a name of `models`, or `newest`.
set_app() {
    model="$1"
    if [ "$model" = newest ]; then
        model="$(models | tail -n 1)"
        ! $dry_run || model=NEWEST.safetensors
        if [ -z "$model" ]; then
            say "There is no model yet, so no app. Train one: deploy/run.sh main. Then: deploy/run.sh app"
            return
        fi
    elif ! $dry_run; then
        models | grep -xF "$model" >/dev/null ||
            fail "the stage has no model $model: deploy/run.sh models lists them"
    fi
    put_service "$app" "$service_pool" 1 app.yaml
    show_address
}

show_address() {
    local address
    address="$(sql endpoints.sql | field ingress_url | sed -n 1p)"
    ! $dry_run || return 0
    case "$address" in
        *.*) say "The app: https://$address" ;;
        *) say "Snowflake is still making the app's address: deploy/run.sh app shows it in a few minutes." ;;
    esac
}
