#!/usr/bin/env bash
# A whole cluster on this machine: a private Redis (append-only file on), three nodes of two shards
# and a router, all on loopback and under one directory.
#
#   deploy/quickstart.sh [start]   installs what is missing, builds, starts, shows first takes
#   deploy/quickstart.sh status    what runs, and what the cluster says of itself
#   deploy/quickstart.sh stop      ends it all; what it knew is there at the next start
#
#   --dir DIR     where data, logs and pid files go (default: .sluice in the repository)
#   --nodes N     nodes, 1 to 9 (default 3); like the next, fixed once the cluster exists
#   --shards N    shards of each node, 1 to 16 (default 2)
#   --bin DIR     use the programs in DIR: install and build nothing
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
verb=start
dir=$repo/.sluice
nodes=
shards=
bin=

# Seconds that one part may take to become ready. Ample: each takes well under one here.
ready_s=30
# Seconds that a node may take to write everything: above its own --stop-timeout of 10.
stop_s=15

say() { printf '%s\n' "$*"; }
step() { printf '%-10s %s\n' "$1" "$2"; }
fail() {
    printf 'quickstart: %s\n' "$*" >&2
    exit 1
}
usage() {
    sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

# --- arguments ---------------------------------------------------------------------------------

number() { # number OPTION TEXT LOW HIGH
    if ! [[ $2 =~ ^[0-9]{1,3}$ ]] || [ "$2" -lt "$3" ] || [ "$2" -gt "$4" ]; then
        echo "quickstart: $1 must be a number from $3 to $4, not '$2'" >&2
        exit 2
    fi
}

while [ $# -gt 0 ]; do
    case "$1" in
    start | stop | status) verb=$1 ;;
    --dir | --nodes | --shards | --bin)
        [ $# -ge 2 ] || { echo "quickstart: $1 needs a value" >&2 && exit 2; }
        case "$1" in
        --dir) dir=$2 ;;
        --nodes) number --nodes "$2" 1 9 && nodes=$2 ;;
        --shards) number --shards "$2" 1 16 && shards=$2 ;;
        --bin) bin=$2 ;;
        esac
        shift
        ;;
    -h | --help) usage && exit 0 ;;
    *) echo "quickstart: unknown word '$1' (see --help)" >&2 && exit 2 ;;
    esac
    shift
done

# --- processes ---------------------------------------------------------------------------------
# A pid file holds the process id and its start time, so that a pid which the system has given to
# someone else since is never taken for ours.

started_at() { # the start time of pid $1, in ticks since boot; nothing if there is none
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    stat=${stat##*) } # the name may hold anything, blanks and brackets too
    set -- $stat
    [ "$1" = Z ] || echo "${20}"
}

pid_of() { # the pid of part $1, if it runs
    local pid start
    [ -f "$dir/run/$1.pid" ] || return 0
    read -r pid start <"$dir/run/$1.pid" || return 0
    [[ ${pid:-} =~ ^[0-9]+$ ]] || return 0
    [ "$(started_at "$pid")" != "${start:-}" ] || echo "$pid"
}

# launch PART PROGRAM ARGS...: unless it runs; in a session of its own, so that closing the terminal
# is harmless.
launch() {
    local part=$1 pid
    shift
    [ -z "$(pid_of "$part")" ] || return 0
    printf '\n' >>"$dir/log/$part.log"
    # Descriptor 9 is the lock, which must not outlive this script.
    setsid "$@" </dev/null >>"$dir/log/$part.log" 2>&1 9>&- &
    pid=$!
    echo "$pid $(started_at "$pid")" >"$dir/run/$part.pid"
    disown "$pid"
}

show_log() { # the end of part $1's log, on standard error
    printf -- '--- the end of %s:\n' "$dir/log/$1.log" >&2
    tail -n 15 "$dir/log/$1.log" >&2 || true
    printf -- '---\n' >&2
}

# wait_ready PART WHERE HINT COMMAND...: until the command succeeds; fails if the part ends before.
wait_ready() {
    local part=$1 where=$2 hint=$3 pid end
    shift 3
    end=$((SECONDS + ready_s))
    until "$@" >/dev/null 2>&1; do
        pid=$(pid_of "$part")
        if [ -z "$pid" ] || [ $SECONDS -ge $end ]; then
            show_log "$part"
            [ -n "$pid" ] || fail "$part ended while starting. $hint"
            fail "$part was not ready within $ready_s s. $hint"
        fi
        sleep 0.1
    done
    step "$part" "ready at $where (pid $(pid_of "$part"))"
}

end_part() { # end_part PART SECONDS: SIGTERM, wait, at last SIGKILL
    local part=$1 pid tries
    pid=$(pid_of "$part")
    if [ -n "$pid" ]; then
        kill -TERM "$pid" 2>/dev/null || true
        for ((tries = $2 * 20; tries > 0; tries--)); do
            [ -n "$(pid_of "$part")" ] || break
            sleep 0.05
        done
        if [ -n "$(pid_of "$part")" ]; then
            kill -KILL "$pid" 2>/dev/null || true
            step "$part" "did not stop within $2 s and was killed (pid $pid); see $dir/log/$part.log"
        else
            step "$part" "stopped"
        fi
    fi
    rm -f "$dir/run/$part.pid"
}

parts_on_file() { # parts that have a pid file, routers first, Redis last
    local file
    for file in "$dir"/run/router.pid "$dir"/run/n?.pid "$dir"/run/redis.pid; do
        [ ! -f "$file" ] || basename "$file" .pid
    done
}

# --- ports -------------------------------------------------------------------------------------

# Ports that someone listens on, from the kernel's own tables: no program needed.
listening() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        while read -r _ local _ state _; do
            [ "$state" != 0A ] || echo $((16#${local##*:}))
        done | sort -u
}

picked=" "
# free_ports COUNT FROM: sets `port` to the first of COUNT ports in a row, all free, from FROM on.
free_ports() {
    local i
    for ((port = $2; port < $2 + 2000; port++)); do
        for ((i = port; i < port + $1; i++)); do
            case "$picked$taken" in *" $i "*) continue 2 ;; esac
        done
        for ((i = port; i < port + $1; i++)); do picked+="$i "; done
        return 0
    done
    fail "no $1 free ports from $2 on"
}

# choose VARIABLE COUNT WANTED PART WHAT: a part that runs keeps its ports; else those of the last
# start, or the defaults, or the next free ones.
choose() {
    local wanted=${!1:-$3}
    [ -z "$(pid_of "$4")" ] || { printf -v "$1" '%s' "$wanted" && return; }
    free_ports "$2" "$wanted"
    [ "$port" = "$wanted" ] || say "port $wanted is taken: $5 listens on $port"
    printf -v "$1" '%s' "$port"
}

choose_ports() {
    local n shard_var control_var
    taken=" $(listening | tr '\n' ' ') "
    choose redis_port 1 7379 redis "Redis"
    choose router_port 1 7400 router "the router"
    for ((n = 1; n <= nodes; n++)); do
        choose "shard_port_$n" "$shards" $((7500 + (n - 1) * shards)) "n$n" "node n$n's first shard"
        choose "control_port_$n" 1 $((7590 + n - 1)) "n$n" "node n$n's control endpoint"
    done
    {
        echo "# This cluster's shape and ports; read again at the next start."
        echo "nodes=$nodes"
        echo "shards=$shards"
        echo "redis_port=$redis_port"
        echo "router_port=$router_port"
        for ((n = 1; n <= nodes; n++)); do
            shard_var=shard_port_$n control_var=control_port_$n
            echo "shard_port_$n=${!shard_var}"
            echo "control_port_$n=${!control_var}"
        done
    } >"$dir/ports"
}

# The shape and ports of the cluster that this directory holds, if it holds one.
load_ports() {
    local wanted_nodes=${nodes:-} wanted_shards=${shards:-}
    [ ! -f "$dir/ports" ] || . "$dir/ports"
    nodes=${nodes:-3} shards=${shards:-2}
    if [ "${wanted_nodes:-$nodes}" != "$nodes" ] || [ "${wanted_shards:-$shards}" != "$shards" ]; then
        fail "$dir holds a cluster of $nodes nodes with $shards shards, which cannot change; use another --dir"
    fi
}

# --- start -------------------------------------------------------------------------------------

node_names() {
    local n
    for ((n = 1; n <= nodes; n++)); do echo "n$n"; done
}

find_programs() { [ -n "$bin" ] || bin=$repo/build/release/bin; }

build_release() {
    local pid log=$dir/log/build.log
    (cd "$repo" && cmake --preset release && cmake --build --preset release) >"$log" 2>&1 9>&- &
    pid=$!
    while [ -t 1 ] && kill -0 "$pid" 2>/dev/null; do # on a terminal: how far it is
        printf '\r%-10s %s' "" "$(grep -oE '^\[[0-9]+/[0-9]+\]' "$log" | tail -n 1)"
        sleep 0.2
    done
    [ ! -t 1 ] || printf '\r\033[K'
    wait "$pid"
}

prepare_programs() {
    local program
    if [ -z "$bin" ]; then
        find_programs
        step packages "checking what is installed"
        "$repo/deploy/install-deps.sh" || fail "see above; then run this again"
        step build "release, into build/release (the first time takes about a minute)"
        if ! build_release; then
            show_log build
            fail "the build failed; all of its output is in $dir/log/build.log"
        fi
    fi
    for program in sluice-node sluice-router sluicectl; do
        [ -x "$bin/$program" ] || fail "$bin/$program is not there"
    done
    command -v redis-server >/dev/null || fail "redis-server is not installed: deploy/install-deps.sh"
}

start_redis() {
    mkdir -p "$dir/redis"
    cat >"$dir/redis/redis.conf" <<CONF
# Private to this cluster. Everything that Sluice keeps is in the append-only file in this directory.
bind 127.0.0.1
port $redis_port
dir "$dir/redis"
appendonly yes
appendfsync everysec
save ""
daemonize no
CONF
    launch redis redis-server "$dir/redis/redis.conf"
    wait_ready redis "127.0.0.1:$redis_port" \
        "Its data is in $dir/redis; if its file is damaged: redis-check-aof --fix." redis_answers
}
redis_answers() { [ "$(redis-cli -h 127.0.0.1 -p "$redis_port" ping)" = PONG ]; }

start_nodes() {
    local n shard_var control_var
    controls=
    for ((n = 1; n <= nodes; n++)); do
        shard_var=shard_port_$n control_var=control_port_$n
        launch "n$n" "$bin/sluice-node" --node-id "n$n" --redis "redis://127.0.0.1:$redis_port" \
            --shards "$shards" --listen "tcp://127.0.0.1:${!shard_var}" \
            --control "tcp://127.0.0.1:${!control_var}"
        controls+="${controls:+,}tcp://127.0.0.1:${!control_var}"
    done
    for ((n = 1; n <= nodes; n++)); do
        shard_var=shard_port_$n control_var=control_port_$n
        wait_ready "n$n" "tcp://127.0.0.1:${!shard_var}, control tcp://127.0.0.1:${!control_var}" \
            "If a port was taken meanwhile, run this again." \
            "$bin/sluicectl" --control "tcp://127.0.0.1:${!control_var}" status
    done
}

start_router() {
    # Redis is for plans that say `on_unavailable: redis`.
    launch router "$bin/sluice-router" --listen "tcp://127.0.0.1:$router_port" --nodes "$controls" \
        --redis "redis://127.0.0.1:$redis_port"
    wait_ready router "tcp://127.0.0.1:$router_port" \
        "If its port was taken meanwhile, run this again." \
        "$bin/sluicectl" --control "tcp://127.0.0.1:$router_port" status
}

# Without a map nobody owns anything; without plans a take that names none has no terms.
create_cluster() {
    local control=tcp://127.0.0.1:$control_port_1 tries
    created=no
    if ! "$bin/sluicectl" --control "$control" map >"$dir/log/map.log" 2>&1; then
        for ((tries = 0; ; tries++)); do # the nodes see each other's leases a moment after starting
            [ "$(alive_nodes "$control")" -lt "$nodes" ] && [ $tries -lt 100 ] || break
            sleep 0.1
        done
        if "$bin/sluicectl" --control "$control" init >"$dir/log/init.log" 2>&1; then
            created=yes
            step cluster "initialised: $(tr '\n' ' ' <"$dir/log/init.log")"
        elif ! grep -q CONFLICT "$dir/log/init.log"; then # that is: there is a map already
            show_log init
            fail "the cluster could not be initialised"
        fi
    fi
    if ! answer_has '"version": ?[1-9]' --control "$control" --json plans show; then
        "$bin/sluicectl" --control "$control" plans apply --base 0 \
            "$repo/deploy/plans/example.yaml" >"$dir/log/plans.log" 2>&1 || {
            show_log plans
            fail "the example plans could not be applied"
        }
        step plans "applied deploy/plans/example.yaml"
    fi
}

# answer_has EXPRESSION WORDS...: sluicectl's answer is read whole before it is searched: a pipe to
# grep -q would break under it.
answer_has() {
    local answer expression=$1
    shift
    answer=$("$bin/sluicectl" "$@" 2>/dev/null) || return 1
    grep -qE "$expression" <<<"$answer"
}

alive_nodes() {
    { "$bin/sluicectl" --control "$1" --json nodes 2>/dev/null || true; } |
        grep -oE '"alive": ?true' | wc -l
}

first_takes() {
    local ctl="$bin/sluicectl --router tcp://127.0.0.1:$router_port" tries words takes
    # The router learns the map, and the shards their slots, a moment after it was made.
    for ((tries = 0; tries < 100; tries++)); do
        ! answer_has '"degraded": ?false' --router "tcp://127.0.0.1:$router_port" --json peek alice \
            --rate 1 || break
        sleep 0.1
    done
    # Keys and plans may have changed since the first start: only a key and a limit of this start's
    # own are sure to be granted then.
    takes=("take key-of-$$ --rate 5 --period-ms 1000 --burst 10")
    [ $created = no ] || takes=("take alice" "take bob 10 --plan premium" "${takes[@]}")
    say
    for words in "${takes[@]}"; do
        say "\$ sluicectl $words"
        $ctl $words || {
            show_log router
            fail "a first take was not granted; see the logs in $dir/log"
        }
    done
}

print_next() {
    local router=tcp://127.0.0.1:$router_port ctl=$bin/sluicectl
    ctl=${ctl#"$repo"/}
    cat <<NEXT

A cluster of $nodes nodes with $shards shards each is running. Try next, from $repo:

  $ctl --router $router take alice 5
  $ctl --router $router peek alice
  $ctl --control $router status
  $ctl --control tcp://127.0.0.1:$control_port_1 nodes

With nng's own tool, which knows nothing of Sluice (apt install nng-utils). In the answer \\xc0\\x96
means no error and six results; the first of them is \\xc3, granted, or \\xc2, refused:

  printf '\\x94\\x00\\x01\\xa4take\\x91\\xa5alice' > take.bin
  nngcat --req --dial $router --file take.bin --quoted

In Python (/usr/bin/python3), with nothing but a socket and msgpack (apt install python3-msgpack):

  import socket, struct, msgpack
  s = socket.create_connection(("127.0.0.1", $router_port)); s.sendall(b"\\0SP\\0\\0\\x30\\0\\0"); s.recv(8)
  m = struct.pack(">I", 1 << 31) + msgpack.packb([0, 1, "take", ["alice", 1]])
  s.sendall(struct.pack(">Q", len(m)) + m)
  print(msgpack.unpackb(s.recv(65536)[12:]))

Logs and data are in $dir. End it with: deploy/quickstart.sh stop$([ "$dir" = "$repo/.sluice" ] || echo " --dir $dir")
NEXT
}

all_running() {
    local part
    for part in redis router $(node_names); do
        [ -n "$(pid_of "$part")" ] || return 1
    done
}

start() {
    mkdir -p "$dir/run" "$dir/log" || fail "cannot write to $dir: choose another with --dir"
    dir=$(cd "$dir" && pwd)
    exec 9>"$dir/lock"
    flock -n 9 || fail "another quickstart is at work in $dir"
    load_ports
    if all_running; then
        find_programs
        say "It is running already."
        print_next
        return
    fi
    prepare_programs
    choose_ports
    start_redis
    start_nodes
    start_router
    create_cluster
    first_takes
    print_next
}

# --- stop and status ---------------------------------------------------------------------------

stop() {
    local part parts
    [ -d "$dir/run" ] || { say "Nothing runs in $dir." && return; }
    dir=$(cd "$dir" && pwd)
    exec 9>"$dir/lock"
    flock -w 60 9 || fail "another quickstart is at work in $dir"
    parts=$(parts_on_file)
    [ -n "$parts" ] || { say "Nothing runs in $dir." && return; }
    # Routers first, so that no one is refused half-way; Redis last, so that nodes can write.
    for part in $parts; do end_part "$part" $stop_s; done
}

status() {
    local part parts pid down=0
    parts=$(parts_on_file)
    [ -n "$parts" ] || { say "Nothing runs in $dir." && return 1; }
    for part in $parts; do
        pid=$(pid_of "$part")
        if [ -n "$pid" ]; then
            step "$part" "running, pid $pid"
        else
            step "$part" "not running; its log: $dir/log/$part.log"
            down=1
        fi
    done
    load_ports
    find_programs
    if [ -n "$(pid_of router)" ]; then
        say
        "$bin/sluicectl" --control "tcp://127.0.0.1:$router_port" status || down=1
        say
        "$bin/sluicectl" --control "tcp://127.0.0.1:$control_port_1" nodes || down=1
    fi
    return $down
}

$verb
