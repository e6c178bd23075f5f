#!/bin/bash
# Runs the two containers of manifests/base by hand, as the kubelet would, and asks them something.
# Needs root, build.sh with INSTALL_CLAUDE done, and: apt-get install podman runc netavark curl jq
# `run-pod.sh --as-root` runs init as root with three capabilities, on a volume without fsGroup.
# shellcheck disable=SC2154 # repository_url and model_url come from stand-ins.ts
set -euo pipefail
source "$(dirname "$0")/settings.sh"

pod=$work/pod
# Not the defaults, which something on this machine may use.
http=127.0.0.1:18080
metrics=127.0.0.1:19090

say() { printf '\n== %s\n' "$*"; }
milliseconds() { date +%s%3N; }

cleanup() {
  podman rm --force --time 5 --ignore berth-init berth-runtime > "$work/cleanup.log" 2>&1 || true
  [[ -z ${stand_ins:-} ]] || kill "$stand_ins" || true
}
trap cleanup EXIT
cleanup
rm -rf "$pod"
mkdir -p "$pod"

# A Secret or emptyDir as the kubelet makes it for fsGroup 1000. In a Secret each file is a link to
# a directory that a change swaps.
secret() { # name, then key and value
  mkdir -p "$pod/$1/..1"
  printf '%s' "$3" > "$pod/$1/..1/$2"
  ln -sfn ..1 "$pod/$1/..data"
  ln -sfn "..data/$2" "$pod/$1/$2"
  chown -R 0:1000 "$pod/$1"
  chmod 440 "$pod/$1/..1/$2"
}
directory() { install -d -o root -g 1000 -m "$2" "$pod/$1"; }

token=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
node "$repository/scripts/containers/stand-ins.ts" "$pod" "$token" > "$pod/model.log" &
stand_ins=$!
until [[ -e $pod/addresses ]]; do kill -0 "$stand_ins" && sleep 0.1; done
# shellcheck source=/dev/null
source "$pod/addresses"

login='{"claudeAiOauth":{"accessToken":"stand-in","refreshToken":"stand-in","expiresAt":4102444800000,"scopes":["user:inference"]}}'
secret init-secrets git-token "$token"
secret init-secrets credentials.json "$login"
printed=$(podman run --rm berth-runtime token by-hand)
api_token=$(grep -m 1 -o '^berth_.*' <<< "$printed")
secret api-tokens by-hand "$(grep -m 1 ':sha256:' <<< "$printed")"
for empty in home workspace tmp; do directory "$empty" 2777; done
if [[ ${1:-} == --as-root ]]; then
  directory claude 755
  as=(--user 0:1000 --cap-add CHOWN --cap-add DAC_OVERRIDE --cap-add FOWNER)
else
  directory claude 2775
  as=(--user 1000:1000)
fi
# Every file system of its own has one.
install -d -m 700 "$pod/claude/lost+found"
install -m 666 /dev/null "$pod/termination-log"

strict=(--network host --read-only --read-only-tmpfs=false --cap-drop all
  --security-opt no-new-privileges --volume "$pod/termination-log:/dev/termination-log")

init() {
  podman run --rm --name berth-init "${strict[@]}" "${as[@]}" --memory 512m --memory-swap 512m \
    --env "BERTH_REPO=$repository_url" --env BERTH_GIT_TOKEN_FILE=/secrets/git-token \
    --volume "$pod/claude:/claude-config" --volume "$pod/init-secrets:/secrets:ro" berth-init
}

start_runtime() {
  local began
  began=$(milliseconds)
  podman run --detach --name berth-runtime "${strict[@]}" --user 1000:1000 \
    --memory 4g --memory-swap 4g \
    --env "BERTH_HTTP_LISTEN=$http" --env "BERTH_METRICS_LISTEN=$metrics" \
    --env KUBERNETES_SERVICE_HOST=192.0.2.1 --env "BERTH_REPO=$repository_url" \
    --env BERTH_API_TOKENS_FILE=/secrets/api-tokens --env "ANTHROPIC_BASE_URL=$model_url" \
    --volume "$pod/home:/home/node" --volume "$pod/claude:/home/node/.claude" \
    --volume "$pod/workspace:/workspace" --volume "$pod/tmp:/tmp" \
    --volume "$pod/api-tokens:/secrets/api-tokens:ro" berth-runtime > "$work/runtime.id"
  until curl -sf "$metrics/livez" > "$work/probe.log"; do sleep 0.02; done
  echo "/livez after $(($(milliseconds) - began)) ms"
  until curl -sf "$metrics/readyz" > "$work/probe.log"; do sleep 0.02; done
  echo "/readyz after $(($(milliseconds) - began)) ms"
}

ask() { # prompt, then more members of the body as JSON
  jq -n --arg prompt "$1" "{prompt: \$prompt} + ${2:-{\}}" |
    curl -s "$http/v1/prompts" -H "Authorization: Bearer $api_token" \
      -H 'Content-Type: application/json' --data-binary @-
}
shown='{status, code, detail, session_id, result, duration_ms, recycled} | with_entries(select(.value != null))'
processes() { podman top berth-runtime pid ppid user state args; }
left() { podman top berth-runtime state args | grep -c "$1" || true; }

say 'init, with a wrong token'
secret init-secrets git-token wrong
init | jq -c '{level, event, msg}' || true
echo "termination message: $(< "$pod/termination-log")"
secret init-secrets git-token "$token"

for time in first second; do
  say "init, the $time time"
  began=$(milliseconds)
  init | jq -c '{level, event, msg, duration_ms} | with_entries(select(.value != null))'
  echo "$(($(milliseconds) - began)) ms with the container"
done
ls -lAn "$pod/claude"

say 'runtime'
start_runtime
answer=$(ask 'Good morning')
jq "$shown" <<< "$answer"
session=$(jq -r .session_id <<< "$answer")

say 'a follow-up, and the same after a restart of the pod'
ask 'And in the evening?' "{session_id: \"$session\"}" | jq -c "$shown"
podman stop --time 90 berth-runtime > "$work/stop.log"
podman rm berth-runtime > "$work/stop.log"
init > "$work/init.log"
start_runtime
ask 'Do you remember?' "{session_id: \"$session\"}" | jq -c "$shown"
cat "$pod/model.log"

say 'what a tool leaves behind'
ask '[[tool Bash {"command":"for i in 1 2 3; do (setsid sleep 1 &); done; setsid -f sleep 600; ps -A 2>&1 | head -3; id"}]]' |
  jq -c "$shown"
sleep 2
processes
curl -s "$http/v1/status" -H "Authorization: Bearer $api_token" | jq -c '{cli_version, memory, workers: [.workers[] | {state, memory}]}'
echo "zombies: $(left '^Z')"

say 'a tool that runs too long'
ask '[[tool Bash {"command":"tail -f /dev/null"}]]' '{timeout: "3s"}' | jq -c "$shown"
sleep 1
echo "left of it: $(left 'tail -f')"

say 'SIGTERM while a prompt runs'
ask '[[slow 500]] [[say finished all the same]]' > "$pod/last.json" &
asking=$!
until curl -s "$metrics/metrics" | grep -q 'workers{state="busy"} 1'; do sleep 0.1; done
began=$(milliseconds)
podman stop --time 90 berth-runtime > "$work/stop.log"
echo "stopped after $(($(milliseconds) - began)) ms, exit code $(podman inspect --format '{{.State.ExitCode}}' berth-runtime)"
wait "$asking"
jq -c "$shown" "$pod/last.json"
podman logs berth-runtime | jq -c '{level, event, msg}'
