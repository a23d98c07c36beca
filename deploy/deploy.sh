#!/usr/bin/env bash
# Sets everything up on Snowflake. Every step may be run again.
# Variables are used by their names, in `render`.
# shellcheck disable=SC2034
# shellcheck source-path=SCRIPTDIR source=common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<END
Usage: deploy/deploy.sh [OPTIONS]

Sets up Faster R-CNN on Snowflake: role, database, warehouse, stage, compute pools, tables, images, app.
What is there already stays. Nothing runs afterwards, except the app if there is a model: run.sh trains one.

$CONNECTION_HELP

Steps that are left out:
      --skip-data-download  download neither DeepPCB nor torchvision's weights
      --skip-data-upload    leave stage and tables as they are
      --skip-image          build and push no images
      --skip-app            neither make nor change the app

Files:
      --data DIR            the data set (default: data/PCBData, downloaded there if missing)
      --tables DIR          its tables, made from it if missing (default: data/tables)
      --weights FILE        a model for the app, instead of one trained by run.sh
      --token-file FILE     what users of the app sign in with, made if missing
                            (default: ~/.config/faster-rcnn/PREFIX.token)
      --tag TAG             of the images (default: version and commit)

Examples:
  deploy/deploy.sh --dry-run
  deploy/deploy.sh -c production
  deploy/deploy.sh -x --account myorg-myaccount --user jane --private-key-file ~/.ssh/snowflake.p8
END
}

parse_shared "$@"
skip_download=false
skip_upload=false
skip_image=false
skip_app=false
data="$repository/data/PCBData"
tables="$repository/data/tables"
model_file=''
token_file="${XDG_CONFIG_HOME:-$HOME/.config}/faster-rcnn/$prefix.token"
tag=''
set -- ${rest[@]+"${rest[@]}"}
while [ $# -gt 0 ]; do
    case "$1" in
        --skip-data-download) skip_download=true ;;
        --skip-data-upload) skip_upload=true ;;
        --skip-image) skip_image=true ;;
        --skip-app) skip_app=true ;;
        --data | --tables | --weights | --token-file | --tag)
            [ $# -ge 2 ] || usage_error "$1 takes a value"
            case "$1" in
                --tag) plain "$1" "$2" ;;
                *) plain_path "$1" "$2" ;;
            esac
            case "$1" in
                --data) data="$(absolute "$2")" ;;
                --tables) tables="$(absolute "$2")" ;;
                --weights) model_file="$(absolute "$2")" ;;
                --token-file) token_file="$2" ;;
                --tag) tag="$2" ;;
            esac
            shift
            ;;
        *) usage_error "unknown option $1" ;;
    esac
    shift
done
plain_path "the folder of this repository" "$repository"
[ -z "$model_file" ] || [ -r "$model_file" ] || usage_error "--weights: $model_file cannot be read"
[ -n "$tag" ] || tag="$(image_tag)"

need_snow
$skip_image || need docker "install Docker, or use --skip-image"
if ! $skip_upload || ! $skip_download; then
    need faster-rcnn \
        "cargo install --path . --features tables, or use --skip-data-download and --skip-data-upload"
fi

# Random, 64 hexadecimal digits.
new_token() {
    head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n'
}

download() {
    step "Download the data set and torchvision's weights"
    if [ -d "$data" ] || [ -d "$tables" ]; then
        say "The data set is there."
    else
        need git "install it, or get https://github.com/tangsanli5201/DeepPCB and use --data DIR"
        say "DeepPCB is for research only: see https://github.com/tangsanli5201/DeepPCB."
        local copy="$data.download"
        command_line rm -rf "$copy"
        command_line mkdir -p "$(dirname "$data")"
        command_line git clone --depth 1 --filter=blob:none --sparse \
            https://github.com/tangsanli5201/DeepPCB.git "$copy"
        command_line git -C "$copy" sparse-checkout set PCBData
        command_line mv "$copy/PCBData" "$data"
        command_line rm -rf "$copy"
    fi
    command_line faster-rcnn weights fetch fasterrcnn_resnet50_fpn
}

make_account() {
    step "Make the account's objects: role, warehouse, database, compute pools"
    refuse_foreign
    execute account.sql
    step "Make the schema's objects: stage, image repository, tables, secrets"
    execute schema.sql
    if $dry_run; then
        secret='********'
        execute worker_token.sql
        execute app_token.sql
        secret=''
        return
    fi
    secret="$(new_token)"
    execute worker_token.sql
    if [ ! -e "$token_file" ]; then
        mkdir -p "$(dirname "$token_file")"
        (umask 077 && new_token >"$token_file.new" && mv "$token_file.new" "$token_file")
    fi
    secret="$(<"$token_file")"
    # It becomes part of a statement.
    [[ "$secret" =~ ^[A-Za-z0-9_.~+/=-]{16,}$ ]] ||
        fail "$token_file: a token is one line of at least 16 letters, digits and any of _ . ~ + / = -"
    execute app_token.sql
    secret=''
    say "The app's token is in $token_file."
}

# An object of our names that deploy.sh did not make is not touched.
refuse_foreign() {
    local foreign
    foreign="$(owned | awk -F '\t' '$3 == "no" { print "  " $1 " " $2 }')"
    [ -z "$foreign" ] || fail "these were not made by deploy.sh, so they stay as they are:
$foreign
Choose other names by --prefix."
}

upload() {
    step "Upload the data"
    if [ -d "$tables" ]; then
        say "The tables in $tables are used. To make them again, delete that folder."
    else
        $dry_run || [ -d "$data" ] ||
            fail "there is no data set in $data: leave out --skip-data-download, or use --data DIR"
        command_line faster-rcnn tables --data "$data" --output "$tables"
    fi
    start_weights=fasterrcnn_resnet50_fpn_coco-258fb6c6.pth
    if ! $dry_run; then
        start_weights="$(faster-rcnn weights fetch fasterrcnn_resnet50_fpn | tail -n 1)" ||
            stopped "torchvision's weights could not be downloaded"
        plain_path "torchvision's weights" "$start_weights"
    fi
    execute upload.sql
    step "Load the tables"
    execute load.sql
}

push_images() {
    step "Build and push the images, tag $tag"
    local url host docker_folder name
    url="$(sql repository.sql | field repository_url | sed -n 1p)"
    if $dry_run; then
        url="ACCOUNT.registry.snowflakecomputing.com$image_path"
    else
        [ -n "$url" ] || stopped "Snowflake gives no address for the image repository $images."
    fi
    host="${url%%/*}"
    url="$(printf '%s' "$url" | tr '[:upper:]' '[:lower:]')"
    command_line docker build --platform linux/amd64 --file "$here/Dockerfile" \
        --tag "$url/faster-rcnn-cuda:$tag" "$repository"
    command_line docker build --platform linux/amd64 --file "$here/Dockerfile.cpu" --build-arg RUN_AS=0 \
        --tag "$url/faster-rcnn-cpu:$tag" "$repository"
    # The registry's token goes from one command to the other, and into a folder that is removed at the end.
    if $dry_run; then
        docker_folder=/tmp/FOLDER
        printf '$ snow spcs image-registry token --format JSON%s --role %s |\n' \
            "$(printf ' %q' "${connection[@]}")" "$role"
        printf '    docker --config %s login %s --username 0sessiontoken --password-stdin\n' \
            "$docker_folder" "$host"
    else
        docker_folder="$(mktemp -d)"
        # shellcheck disable=SC2064  # the folder of now
        trap "rm -rf '$docker_folder'" EXIT
        snow spcs image-registry token --format JSON "${connection[@]}" --role "$role" |
            docker --config "$docker_folder" login "$host" --username 0sessiontoken --password-stdin ||
            stopped "The registry $host refuses to sign in."
    fi
    for name in faster-rcnn-cuda faster-rcnn-cpu; do
        command_line docker --config "$docker_folder" push "$url/$name:$tag"
    done
}

deploy_app() {
    if [ -n "$model_file" ]; then
        step "Upload the model $model_file"
        # The name says when: the newest model is the app's.
        local copy name
        name="$(date -u +%Y%m%dT%H%M%SZ).safetensors"
        copy=/tmp/FOLDER
        if ! $dry_run; then
            copy="$(mktemp -d)"
            ln -s "$model_file" "$copy/$name"
        fi
        model_file="$copy/$name"
        execute upload_model.sql
        $dry_run || rm -r "$copy"
    fi
    step "Make or change the app"
    set_app newest
}

$skip_download || download
make_account
$skip_upload || upload
$skip_image || push_images
$skip_app || deploy_app
current_step=''
say "
Ready. deploy/run.sh main trains on four GPUs, deploy/status.sh shows what is there, deploy/clean.sh
removes it."
