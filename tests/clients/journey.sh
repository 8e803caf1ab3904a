#!/usr/bin/env bash
# The journey over JSON with curl; python3 reads and writes the JSON. The marked regions stand in docs/clients/http.md.
set -euo pipefail

# [connect]
api() { # api PATH [curl's arguments]: the answer; what a refusal says goes to stderr
  curl -sS --fail-with-body -H "authorization: Bearer $SPLITRAIL_TOKEN" "${@:2}" "$SPLITRAIL_URL$1"
}
post() { # post PATH BODY; repeated on 503 too, which is safe: every mutation here has a requestId or may be repeated
  api "$1" --retry 3 -H 'content-type: application/json' -d "$2"
}
pick() { # pick a.b.0: one value of the JSON on stdin
  python3 -c 'import functools, json, sys
keys = [int(key) if key.isdigit() else key for key in sys.argv[1].split(".")]
print(functools.reduce(lambda value, key: value[key], keys, json.load(sys.stdin)))' "$1"
}
# [/connect]

request_id() { python3 -c 'import uuid; print(uuid.uuid4())'; }

# A line of the journey: name=text or name:=JSON.
tell() {
  python3 -c 'import json, sys
pairs = (item.partition("=")[::2] for item in sys.argv[1:])
print(json.dumps({name.removesuffix(":"): json.loads(value) if name.endswith(":") else value for name, value in pairs}))' "$@"
}

# [import]
# The files of a folder as AddFiles takes them: small texts come along, in base64; images are uploaded.
announce() {
  python3 - "$1" <<'PYTHON'
import base64, hashlib, json, pathlib, sys

files = []
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*")):
    if path.is_file():
        data = path.read_bytes()
        file = {"path": str(path.relative_to(sys.argv[1])), "sha256": hashlib.sha256(data).hexdigest(), "sizeBytes": len(data)}
        if path.suffix in (".txt", ".yaml"):
            file["content"] = base64.b64encode(data).decode()
        files.append(file)
print(json.dumps({"files": files}))
PYTHON
}

import_folder() { # import_folder FOLDER NAME: sets import_id and uploads
  local path url
  uploads=0
  import_id=$(post /api/imports "{\"datasetName\": \"$2\", \"requestId\": \"$(request_id)\"}" | pick datasetImport.importId)
  announce "$1" >"$scratch/files.json"
  post "/api/imports/$import_id/files" "@$scratch/files.json" >"$scratch/uploads.json"
  python3 - "$1" "$scratch" >"$scratch/uploads.tsv" <<'PYTHON'
import json, pathlib, sys

folder, scratch = map(pathlib.Path, sys.argv[1:])
paths = {file["sha256"]: file["path"] for file in json.loads((scratch / "files.json").read_text())["files"]}
for upload in json.loads((scratch / "uploads.json").read_text()).get("uploads", []):
    print(folder / paths[upload["sha256"]], upload["url"], sep="\t")
PYTHON
  while IFS=$'\t' read -r path url; do
    curl -sSf --retry 3 --upload-file "$path" "$url" # signed: no token goes along
    uploads=$((uploads + 1))
  done <"$scratch/uploads.tsv"
  post "/api/imports/$import_id/start" '{}' >/dev/null
}
# [/import]

# [messages]
# Opens a stream (NDJSON, or server-sent events if asked for); 30 s without a byte end it.
stream() { # stream PATH [curl's arguments]
  curl -sSN --speed-limit 1 --speed-time 30 -H "authorization: Bearer $SPLITRAIL_TOKEN" "${@:2}" "$SPLITRAIL_URL$1"
}
# The messages of a stream, one a line: cursor, incarnation, kind, and what the kind has to say.
messages() {
  python3 -u -c 'import json, sys
for line in sys.stdin:
    text = line.strip().removeprefix("data:")
    if not text or text.startswith((":", "event:", "id:", "retry:")):
        continue
    try:
        message = json.loads(text)
    except ValueError:  # cut off in the middle
        continue
    at = message.get("cursor", "0"), message.get("incarnation") or "-"
    if "code" in message:  # a refusal
        reasons = [detail["reason"] for detail in message.get("details", []) if "reason" in detail]
        print(*at, "refused", message["code"], *reasons)
    elif "closed" in message:
        print(*at, "closed", message["closed"]["reason"])
    elif "epoch" in message.get("event", {}):
        print(*at, "epoch", message["event"]["epoch"]["epoch"])
    elif "datasetImport" in message:
        print(*at, "import", message["datasetImport"]["state"])
    else:
        print(*at, "other")'
}
reopens() { # reopens CODE [REASON]: whether to open a stream again that ended with this refusal
  case "$1" in
    4 | 8 | 10 | 14) return 0 ;;
    12 | 16) return 1 ;;
    *) [[ -z ${2:-} ]] ;; # without a reason it comes from the connection
  esac
}
# [/messages]

# [watch-import]
wait_import() { # wait_import IMPORT_ID: each message is the whole state, so the stream needs no cursor
  local kind detail reason
  while true; do
    while read -r _ _ kind detail reason; do
      case "$kind $detail" in
        'import IMPORT_STATE_SUCCEEDED') return 0 ;;
        'import IMPORT_STATE_FAILED' | 'import IMPORT_STATE_CANCELLED') return 1 ;;
        refused*) reopens "$detail" "$reason" || return 1 ;;
      esac
    done < <(stream "/api/imports/$1/watch" | messages)
    sleep 0.5
  done
}
# [/watch-import]

# [watch]
watch() { # watch RUN_ID: NDJSON at first; opened again as server-sent events
  local after_seq=0 incarnation='' accept=application/x-ndjson tenths=1
  local cursor current kind detail reason
  interruptions=0
  while true; do
    while read -r cursor current kind detail reason; do
      case "$kind $detail $reason" in
        'refused '*' CURSOR_OUT_OF_RANGE') # restored from a backup: forget what was read
          after_seq=0 incarnation=''
          continue 2
          ;;
        refused*) reopens "$detail" "$reason" && break || return 1 ;;
        'closed CLOSED_REASON_ENDED '*) return 0 ;;
        closed*) break ;;
        epoch*)
          tell step=epoch epoch:="$detail" seq:="$cursor"
          tenths=1
          ;;
      esac
      after_seq=$cursor incarnation=${current#-}
    done < <(stream "/api/runs/$1/watch" -H "accept: $accept" \
      -G --data-urlencode "after_seq=$after_seq" --data-urlencode "incarnation=$incarnation" | messages)
    interruptions=$((interruptions + 1)) accept=text/event-stream
    sleep "$((tenths / 10)).$((tenths % 10))"
    tenths=$((tenths < 25 ? tenths * 2 : 50)) # up to 5 s
  done
}
# [/watch]

create_run() { # create_run SPLIT_ID: sends one request twice, as after an answer that was lost
  local body again
  # [run]
  body=$(printf '{"splitId": "%s", "model": "yolov8n", "arguments": %s, "requestId": "%s"}' "$1" "$TRAINING" "$(request_id)")
  run_id=$(post /api/runs "$body" | pick run.runId)
  again=$(post /api/runs "$body" | pick run.runId)
  # [/run]
  tell step=run run_id="$run_id" same:="$([[ $run_id == "$again" ]] && echo true || echo false)"
}

fetch_plot() { # fetch_plot RUN_ID
  local url
  # [plot]
  api "/api/runs/$1/plots" >"$scratch/plots.json"
  url=$(pick plots.0.url <"$scratch/plots.json")
  curl -sSf "$url" -o "$scratch/plot" # signed: no token goes along
  # [/plot]
  tell step=plot name="$(pick plots.0.name <"$scratch/plots.json")" bytes:="$(stat -c %s "$scratch/plot")"
}

evaluate() { # evaluate RUN_ID
  local evaluation_id
  # [evaluate]
  evaluation_id=$(post "/api/runs/$1/evaluations" "{\"part\": \"PART_TEST\", \"requestId\": \"$(request_id)\"}" | pick evaluation.evaluationId)
  watch "$evaluation_id" # an evaluation has a feed too
  api "/api/evaluations/$evaluation_id" >"$scratch/evaluation.json"
  # [/evaluate]
  [[ $(pick evaluation.job.state <"$scratch/evaluation.json") == JOB_STATE_SUCCEEDED ]]
  tell step=evaluation evaluation_id="$evaluation_id" images:="$(pick evaluation.result.images <"$scratch/evaluation.json")" \
    mAP50:="$(pick evaluation.result.overall.mAP50 <"$scratch/evaluation.json")"
}

decode_refusal() { # decode_refusal SPLIT_ID
  # [refusal]
  if post /api/runs "{\"splitId\": \"$1\", \"model\": \"yolov8n\", \"arguments\": {\"epohcs\": 4}}" >"$scratch/refusal.json"; then
    return 1
  fi
  # {"code": 3, "message": "...", "details": [{"@type": ".../google.rpc.ErrorInfo", ...}, {"@type": ".../google.rpc.BadRequest", ...}]}
  python3 - "$scratch/refusal.json" <<'PYTHON'
import json, sys

status = json.load(open(sys.argv[1]))
details = {detail["@type"].rpartition(".")[2]: detail for detail in status["details"]}
field = details["BadRequest"]["fieldViolations"][0]["field"]
print(json.dumps({"step": "refusal", "code": status["code"], "reason": details["ErrorInfo"]["reason"], "field": field}))
PYTHON
  # [/refusal]
}

TRAINING='{"epochs": 4, "imgsz": 64, "batch": 8, "seed": 1, "optimizer": "AdamW", "lr0": 0.002, "mosaic": 0}'
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

import_folder "$JOURNEY_FOLDER" "$JOURNEY_DATASET"
wait_import "$import_id"
api "/api/imports/$import_id" >"$scratch/import.json"
dataset_id=$(pick datasetImport.version.datasetId <"$scratch/import.json")
version_id=$(pick datasetImport.version.versionId <"$scratch/import.json")
tell step=import dataset_id="$dataset_id" version_id="$version_id" \
  images:="$(pick datasetImport.imageCount <"$scratch/import.json")" uploads:="$uploads"

# [split]
parameters='{"ratios": {"train": 0.7, "val": 0.15, "test": 0.15}, "seed": "42"}'
post "/api/datasets/$dataset_id/versions/$version_id/split" \
  "{\"parameters\": $parameters, \"requestId\": \"$(request_id)\"}" >"$scratch/split.json"
split_id=$(pick split.splitId <"$scratch/split.json")
# [/split]
tell step=split split_id="$split_id" digest="$(pick split.digest <"$scratch/split.json")"

create_run "$split_id"
watch "$run_id"
tell step=closed interruptions:="$interruptions"
fetch_plot "$run_id"
evaluate "$run_id"
decode_refusal "$split_id"
tell step=done
