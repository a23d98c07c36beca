#!/usr/bin/env bash
# What is done every day with what deploy.sh has set up.
# Variables are used by their names, in `render`.
# shellcheck disable=SC2034
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<END
Usage: deploy/run.sh [OPTIONS] COMMAND

Commands:
  main                  train on four GPUs, wait for the end, then suspend the GPUs
  status                what is there, and what it does; as deploy/status.sh
  logs [WHAT]           the last lines of trainer (default), worker or app
  models                the models on the stage, the newest last
  app [MODEL]           give the app a model (default: the newest), and show the app's address
  test                  check that the tables are loaded and fit together
  download DIR          copy the newest run, with its weights and charts, to this machine
  suspend [all]         suspend the GPUs, and with \`all\` the app, too: they cost nothing then
  resume                start the app again

$CONNECTION_HELP

Options of commands:
      --tag TAG             of the images (default: version and commit, as deploy.sh has it)
      --no-wait             main: end as soon as the training runs; suspend the GPUs yourself
      --poll SECONDS        main: how often to look (default: 30)
      --lines N             logs: how many (default: 100)
      --instance N          logs: of which worker, 0 to 3 (default: 0)
END
}

parse_shared "$@"
command=''
argument=''
tag=''
wait=true
poll=30
lines=100
instance=0
set -- ${rest[@]+"${rest[@]}"}
while [ $# -gt 0 ]; do
    case "$1" in
        --no-wait) wait=false ;;
        --tag | --poll | --lines | --instance)
            [ $# -ge 2 ] || usage_error "$1 takes a value"
            case "$1" in
                --tag) plain "$1" "$2" && tag="$2" ;;
                *) [[ "$2" =~ ^[0-9]{1,5}$ ]] || usage_error "$1 takes a number, not '$2'" ;;
            esac
            case "$1" in
                --poll) poll="$2" ;;
                --lines) lines="$2" ;;
                --instance) instance="$2" ;;
            esac
            shift
            ;;
        -*) usage_error "unknown option $1" ;;
        *)
            if [ -z "$command" ]; then
                command="$1"
            elif [ -z "$argument" ]; then
                argument="$1"
            else
                usage_error "unexpected $1"
            fi
            ;;
    esac
    shift
done
[ -n "$tag" ] || tag="$(image_tag)"

# Starts the workers, and a trainer unless one is at work.
start_training() {
    step "Start four workers"
    # The trainer waits until it finds all of them by name.
    put_service "$workers" "$training_pool" 4 workers.yaml
    step "Start the trainer"
    service="$workers"
    workers_dns_name="$(sql service.sql | field dns_name | sed -n 1p)"
    ! $dry_run || workers_dns_name=DNS-NAME-OF-THE-WORKERS
    [ -n "$workers_dns_name" ] || stopped "Snowflake gives no name for the workers' service."
    specification="$(render "$here/services/trainer.yaml")"
    execute trainer.sql
}

interrupted() {
    printf '\nThe training goes on, and four GPUs cost. %s\n' \
        "The same command waits for it again; to end it: deploy/run.sh suspend" >&2
    exit 130
}

train() {
    local state last=''
    case "$(state_of "$trainer")" in
        PENDING | RUNNING) say "A training runs already." ;;
        *) start_training ;;
    esac
    if ! $wait; then
        say "It runs. When it ends, suspend the GPUs: deploy/run.sh suspend"
        return
    fi
    $dry_run || trap interrupted INT TERM
    step "Wait for the trainer"
    state=DONE
    while ! $dry_run; do
        state="$(state_of "$trainer")"
        [ "$state" = "$last" ] || say "$(date '+%H:%M:%S') ${state:-it is gone}"
        last="$state"
        case "$state" in
            PENDING | RUNNING) sleep "$poll" & wait $! ;;
            *) break ;;
        esac
    done
    trap - INT TERM
    if [ "$state" != DONE ]; then
        show_logs trainer || true
    fi
    step "Suspend the GPUs"
    execute suspend_training.sql
    [ "$state" = DONE ] || fail "the training ended as ${state:-dropped}; its log is above. What it had is \
on the stage: the same command goes on after its last epoch."
    say "Trained. Give the app the new model: deploy/run.sh app"
}

show_logs() {
    container="$1"
    case "$1" in
        trainer) service="$trainer" ;;
        worker) service="$workers" ;;
        app) service="$app" ;;
        *) usage_error "logs of trainer, worker or app, not '$1'" ;;
    esac
    [ "$1" = worker ] || instance=0
    sql logs.sql CSV
}

check_tables() {
    local counts all
    counts="$(sql counts.sql)"
    ! $dry_run || return 0
    # A name and a number by turns.
    all="$(printf '%s\n' "$counts" | { grep -oE '"(TABLE|ROWS)" *: *"[^"]*"' || true; } |
        sed -E 's/^.*: *"(.*)"$/\1/' | paste -d ' ' - -)"
    printf '%s\n' "$all"
    printf '%s\n' "$all" | awk '
        { rows[$1] = $2 }
        END {
            bad = 0
            for (name in rows) if (rows[name] == 0) { print name " is empty"; bad = 1 }
            if (rows["TRAINING_DATA"] + rows["TEST_DATA"] != rows["TRAIN_IMAGES_LABELS"]) {
                print "TRAINING_DATA and TEST_DATA do not make up TRAIN_IMAGES_LABELS"; bad = 1
            }
            exit bad
        }' || fail "load the tables again: deploy/deploy.sh --skip-image --skip-app"
    say "The tables are loaded."
}

download_run() {
    [ -n "$argument" ] || usage_error "download takes a folder"
    plain_path download "$argument"
    local newest
    newest="$(sql stage.sql | field name | { grep -oE 'runs/[^/]+/whole$' || true; } | sort | tail -n 1 |
        cut -d / -f 2)"
    ! $dry_run || newest=NEWEST
    [ -n "$newest" ] || fail "there is no run on the stage yet: deploy/run.sh main"
    command_line mkdir -p "$argument"
    command_line snow stage copy "@$stage/runs/$newest" "$argument" --recursive \
        "${connection[@]}" --role "$role"
}

need_snow
case "$command" in
    main) train ;;
    status) sql status.sql TABLE ;;
    logs) show_logs "${argument:-trainer}" ;;
    models) models ;;
    app)
        plain app "${argument:-newest}"
        set_app "${argument:-newest}"
        ;;
    test) check_tables ;;
    download) download_run ;;
    suspend)
        execute suspend_training.sql
        case "$argument" in
            '') ;;
            all) execute suspend_services.sql ;;
            *) usage_error "suspend takes nothing, or all" ;;
        esac
        ;;
    resume)
        service="$app"
        execute resume_service.sql
        ;;
    '') usage_error "a command is missing" ;;
    *) usage_error "unknown command $command" ;;
esac
