#!/usr/bin/env bash
# run.sh <grpc://endpoint> <workdir>   Downloads of Bazel through the server's Remote Asset API: an origin on a free port
# of 127.0.0.1, a build that downloads from it, all local state wiped, the same build again. The server has to be
# started with --asset-origin-fetch on --asset-allow-private 127.0.0.1.
# PASS: the origin was asked by the server alone and once for each URL, and both builds have the bytes it published.
set -u
here=$(cd "$(dirname "$0")" && pwd); stubs=$here/../bazel-stubs
[ $# -eq 2 ] || { sed -n 2,5p "$0"; exit 64; }
endpoint=$1; mkdir -p "$2"; work=$(cd "$2" && pwd)
case $endpoint in
  grpc://* | grpcs://*) ;;
  *) echo "no downloads without a server: nothing to compare with for $endpoint" >&2; exit 64 ;;
esac
mkdir -p "$work/origin"; cp -r "$here/ws" "$work/ws"
for ((i = 0; i < 20000; i++)); do echo "$RANDOM line $i"; done > "$work/origin/file.txt"

python3 -u "$here/origin.py" "$work/origin" > "$work/port" 2> "$work/asked" & origin=$!
stop() {
  kill "$origin"
  for ob in ob1 ob2; do [ ! -d "$work/$ob" ] || bz $ob shutdown > /dev/null 2>&1; done
}
trap stop EXIT
bz() { # bz <output base> args...
  local ob=$1; shift
  (cd "$work/ws" && "${BAZEL:-bazel}" --nohome_rc --noworkspace_rc --max_idle_secs=60 \
    --output_user_root="$work/our" --output_base="$work/$ob" "$@")
}
# The file itself may not be there yet: the origin is started in the background.
for ((i = 0; i < 300; i++)); do [ ! -s "$work/port" ] || break; sleep 0.1; done
[ -s "$work/port" ] || { echo "FAIL: the origin did not start"; exit 1; }
url=http://127.0.0.1:$(cat "$work/port")
sha=$(sha256sum < "$work/origin/file.txt" | cut -d ' ' -f 1)
# The first URL is gone: the server goes on to the next.
sed -i "s|URLS|\"$url/gone.txt\", \"$url/file.txt\"|; s|SHA256|$sha|" "$work/ws/WORKSPACE"

overrides=()
for name in rules_cc rules_java rules_proto rules_python remote_coverage_tools; do
  overrides+=("--override_repository=$name=$stubs/$name")
done
for ob in ob1 ob2; do
  bz $ob build //:copy --remote_cache="$endpoint" --experimental_remote_downloader="$endpoint" --repository_cache= \
    "${overrides[@]}" --symlink_prefix=/ --color=no --curses=no > "$work/$ob.log" 2>&1 \
    || { echo "FAIL: bazel failed"; tail -20 "$work/$ob.log"; exit 2; }
  cp "$work/asked" "$work/$ob.asked"
  cmp "$work/origin/file.txt" "$work/$ob/execroot/__main__/bazel-out/k8-fastbuild/bin/copied.txt" \
    || { echo "FAIL: other bytes after the build in $ob"; exit 1; }
done
echo "the origin was asked:"; cat "$work/asked"
if [ "$(cat "$work/asked")" = $'/gone.txt kura\n/file.txt kura' ]; then echo PASS; else echo FAIL; exit 1; fi
