#!/usr/bin/env bash
# A private Slurm cluster on this machine, for tests: real daemons, pretended nodes. Needs root, but neither systemd nor
# cgroups, and touches no Slurm that is already there.
#
#   private_cluster.sh start [nodes=2] [cpus=4]   starts what is not running; prints what `env` prints
#   private_cluster.sh env                        the variables that sbatch, squeue and srun need, for eval
#   private_cluster.sh kill-node nK               the node is lost at once, with all that runs on it
#   private_cluster.sh start-node nK              and comes back
#   private_cluster.sh stop                       ends all processes, jobs too, and removes all files
#   private_cluster.sh able                       only says whether it can be started here (exit code 0 or 77)
#
#   eval "$(slurm/private_cluster.sh start)"; sinfo; sbatch ...; slurm/private_cluster.sh stop
#
# Everything is in the folder $REEL_CLUSTER_DIR; `start` makes one when it is not set. Several clusters can run side by
# side. Partitions: normal; urgent, whose jobs have those of normal requeued when they need their place.
# Exit codes: 0 good, 1 failed, 2 usage, 77 not possible here (a package or a right is missing: skip the test).
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin  # where the daemons are, and where sudo may not look
dir=${REEL_CLUSTER_DIR:-}

fail() { # exit code, text...
  local code=$1
  shift
  printf 'private_cluster.sh: %s\n' "$*" >&2
  exit "$code"
}

expect_able() {
  local pair
  for pair in slurmctld:slurm-wlm slurmd:slurm-wlm sbatch:slurm-wlm munged:munge unshare:util-linux hostname:hostname \
      pkill:procps; do
    command -v "${pair%%:*}" >/dev/null ||
      fail 77 "no ${pair%%:*} here (Debian: apt-get install --no-install-recommends ${pair#*:})"
  done
  [ "$(id -u)" = 0 ] || fail 77 "must be root, to pretend nodes with host names and processes of their own"
  unshare --pid --fork --mount-proc --uts --ipc --mount mount -t tmpfs tmpfs /dev/shm 2>/dev/null ||
    fail 77 "may not make namespaces here (a container then needs the capability SYS_ADMIN)"
}

expect_cluster() {
  [ -n "$dir" ] || fail 2 "REEL_CLUSTER_DIR is not set; 'start' prints it"
  [ -f "$dir/etc/slurm.conf" ] || fail 2 "no cluster in '$dir'"
  export SLURM_CONF=$dir/etc/slurm.conf
}

nodes() { sed -n 's/^NodeName=\([^ ]*\) .*/\1/p' "$dir/etc/slurm.conf"; }

wait_until() { # seconds, command...
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# --- processes ------------------------------------------------------------------------------------------------------

# Each daemon is process 1 of a namespace: when it is killed, the kernel kills all that it started, as when a node loses
# power. A plain slurmd would leave its jobs alive. Own host name: MPI tells nodes apart by it. Own /dev/shm: a node's
# memory is its own and goes with it.
launch() { # name, command...
  local name=$1
  shift
  setsid unshare --pid --fork --kill-child=KILL --mount-proc --uts --ipc --mount bash -ec '
      hostname "$0"
      mount --bind "$1/etc/hosts" /etc/hosts
      mount -t tmpfs -o mode=1777 tmpfs /dev/shm
      cd "$1"
      shift
      exec "$@"' "$name" "$dir" "$@" </dev/null >>"$dir/log/$name.out" 2>&1 &
  echo $! >"$dir/run/$name.process"
}

launch_node() { # nK; without a disk: a job that is requeued would stumble over its own sockets there
  rm -rf "${dir:?}"/{spool,tmp}/"$1"
  mkdir "$dir"/{spool,tmp}/"$1"
  launch "$1" slurmd -D -N "$1" -f "$dir/etc/slurm.conf"
}

alive() { # name; that the number was not given to a stranger in the meantime shows in the command line
  local pid
  pid=$(cat "$dir/run/$1.process" 2>/dev/null) && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF -- "$dir"
}

dead() { ! alive "$1"; }

end() { # name; unshare ends when the namespace it waits for is empty
  alive "$1" || return 0
  pkill -KILL -P "$(cat "$dir/run/$1.process")" || true
  wait_until 10 dead "$1" || fail 1 "process $(cat "$dir/run/$1.process") ($1) does not end"
}

# --- files ----------------------------------------------------------------------------------------------------------

is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_ports() { # how many; the first of so many in a row, below those that the kernel hands out
  local first port
  for _ in $(seq 100); do
    first=$((10000 + RANDOM % 20000))
    for ((port = first; port < first + $1; ++port)); do is_free "$port" || continue 2; done
    echo "$first"
    return
  done
  fail 1 "no free ports"
}

write_files() { # nodes, cpus
  local port i
  port=$(free_ports $(($1 + 1)))
  mkdir -p "$dir"/{etc,run,log,state,spool,tmp}
  chmod 700 "$dir"
  (umask 077 && head -c 128 /dev/urandom >"$dir/etc/munge.key")
  # A daemon listens where its host name leads, here to the loopback device.
  { echo "127.0.0.1 localhost head"; for i in $(seq "$1"); do echo "127.0.0.1 n$i"; done; } >"$dir/etc/hosts"
  # What it prints goes into the environment of each task. Leftovers of a lost node stay in our folder; MPI keeps to the
  # loopback device, and gives way while it waits, since there are more tasks than cores.
  cat >"$dir/etc/task_prolog" <<'PROLOG'
#!/bin/sh
echo "export TMPDIR=${SLURM_CONF%/etc/*}/tmp/$SLURMD_NODENAME"
for setting in ALLOW_RUN_AS_ROOT=1 ALLOW_RUN_AS_ROOT_CONFIRM=1 MCA_mpi_yield_when_idle=1 \
    MCA_hwloc_base_binding_policy=none MCA_btl_tcp_if_include=lo MCA_oob_tcp_if_include=lo; do
  echo "export OMPI_$setting"
done
PROLOG
  chmod 755 "$dir/etc/task_prolog"
  {
    cat <<CONF
ClusterName=private
SlurmctldHost=head(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
# A requeued job waits until its credential has expired, by default two minutes.
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
# mpi/pmix makes a folder in TmpFS: two nodes in one place would be in each other's way.
TmpFS=$dir/tmp/%n
TaskProlog=$dir/etc/task_prolog
# Without cgroups; a node has as many CPUs as it says.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
# Jobs start within a second; a lost node shows within half a minute. Finished jobs stay in squeue for an hour.
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=2
SlurmctldTimeout=10
SlurmdTimeout=10
ReturnToService=2
KillWait=5
MinJobAge=3600
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobs
CONF
    for i in $(seq "$1"); do
      echo "NodeName=n$i NodeHostname=n$i NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=$2 RealMemory=2048"
    done
    echo "PartitionName=DEFAULT Nodes=ALL MaxTime=60 DefaultTime=10"
    echo "PartitionName=normal Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=5"
    echo "PartitionName=urgent PriorityTier=10 PreemptMode=OFF"
  } >"$dir/etc/slurm.conf"
}

# --- verbs ----------------------------------------------------------------------------------------------------------

print_env() { printf 'export REEL_CLUSTER_DIR=%q\nexport SLURM_CONF=%q\n' "$dir" "$dir/etc/slurm.conf"; }

node_serves() { [[ $(sinfo -h -N -p normal -n "$1" -o %T) =~ ^(idle|mixed|allocated|completing)$ ]]; }

start() { # nodes, cpus
  local node
  expect_able
  [[ $1 =~ ^[1-9][0-9]?$ && $2 =~ ^[1-9][0-9]{0,2}$ ]] || fail 2 "start takes 1 to 99 nodes and 1 to 999 cpus"
  [ -n "$dir" ] || dir=$(mktemp -d "${TMPDIR:-/tmp}/reel_cluster.XXXXXX")
  mkdir -p "$dir"
  dir=$(realpath "$dir")
  [[ ${#dir} -le 50 && $dir != *[[:space:]]* ]] ||
    fail 2 "'$dir': sockets and slurm.conf want at most 50 characters and no space"
  if [ -f "$dir/etc/slurm.conf" ]; then
    [[ $(nodes | wc -l) = "$1" && $(grep -c " CPUs=$2 " "$dir/etc/slurm.conf") = "$1" ]] ||
      fail 2 "another cluster is in '$dir': stop it first"
  elif [ -n "$(ls -A "$dir")" ]; then
    fail 2 "'$dir' is not empty"
  fi
  trap 'tail -n 5 "$dir"/log/*.out "$dir"/log/*.log >&2 || true; stop' EXIT  # no half of a cluster stays
  [ -f "$dir/etc/slurm.conf" ] || write_files "$1" "$2"
  expect_cluster
  # --force: a folder below a world-writable one such as /tmp is fine
  alive munge || launch munge munged --foreground --force --key-file="$dir/etc/munge.key" \
    --socket="$dir/run/munge.socket" --pid-file="$dir/run/munged.pid" --log-file="$dir/log/munged.log" \
    --seed-file="$dir/state/munge.seed"
  wait_until 10 munge --no-input --socket="$dir/run/munge.socket" || fail 1 "munged does not answer"
  alive head || launch head slurmctld -D -f "$SLURM_CONF"
  wait_until 20 scontrol ping || fail 1 "slurmctld does not answer"
  for node in $(nodes); do alive "$node" || launch_node "$node"; done
  for node in $(nodes); do wait_until 20 node_serves "$node" || fail 1 "node $node does not serve"; done
  trap - EXIT
  print_env
}

stop() {
  local file
  for file in "$dir"/run/*.process; do end "$(basename "$file" .process)"; done
  rm -rf "${dir:?}"
}

case ${1:-} in
  able) expect_able ;;
  start) start "${2:-2}" "${3:-4}" ;;
  env)
    expect_cluster
    print_env
    ;;
  kill-node | start-node)
    expect_cluster
    nodes | grep -qx -- "${2:-}" || fail 2 "no node '${2:-}'; there are: $(nodes | tr '\n' ' ')"
    if [ "$1" = kill-node ]; then
      end "$2"
    else
      alive "$2" || launch_node "$2"
      wait_until 20 node_serves "$2" || fail 1 "node $2 does not serve"
    fi
    ;;
  stop)
    [ -n "$dir" ] || fail 2 "REEL_CLUSTER_DIR is not set; 'start' prints it"
    [ ! -e "$dir" ] || { expect_cluster && stop; }
    ;;
  *)
    sed -n '5,10s/^# *//p' "$0" >&2
    exit 2
    ;;
esac
