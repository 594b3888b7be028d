# The main job on a Slurm cluster of one machine: slurmctld and slurmd of the distribution, started here, without root's settings.
# Arrays with dependencies, a job that the scheduler ends and queues again, and the same tables as without a cluster.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
for p in slurmctld slurmd sbatch; do command -v $p >/dev/null || { echo "skipped: $p is not installed"; exit 77; }; done
mkdir -p slurm/state slurm/spool
host=$(hostname -s)
cat >slurm/slurm.conf <<Y
ClusterName=forty
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
StateSaveLocation=$T/slurm/state
SlurmdSpoolDir=$T/slurm/spool
SlurmctldPidFile=$T/slurm/slurmctld.pid
SlurmdPidFile=$T/slurm/slurmd.pid
SlurmctldLogFile=$T/slurm/slurmctld.log
SlurmdLogFile=$T/slurm/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,bf_interval=1
MinJobAge=3600
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
Y
export SLURM_CONF=$T/slurm/slurm.conf
trap 'kill $(cat slurm/*.pid) 2>/dev/null || true; sleep 0.3; rm -rf "$T"' EXIT
slurmctld -D >slurm/controller.out 2>&1 &
slurmd -D -N "$host" >slurm/daemon.out 2>&1 &
for i in $(seq 50); do
  [ "$(sinfo -h -o %t 2>/dev/null)" = idle ] && break
  sleep 0.2
done
[ "$(sinfo -h -o %t)" = idle ] || { tail -5 slurm/*.out slurm/*.log >&2; die "no cluster came up"; }

cat >e.yaml <<'Y'
threads: 1
data: {phantom: true, size: 32, frames: 8}
phantom: {videos: 48}
positive: polyp
labels: 12
generated: 12
splits: 2
seeds: 1
arms: [supervised, real-unlabelled, noise, medsora-tiny]
bootstrap: 200
vae: {steps: 6, batch: 2}
generator: {steps: 6, batch: 4, sample_steps: 4}
classifier: {steps: 6, batch: 4}
slurm: {cpus: 1, options: [--partition=main]}
rehearse: always
Y
wait_for() { # until no job of the queue is left
  for i in $(seq 900); do
    [ -z "$(squeue -h 2>/dev/null)" ] && return 0
    sleep 0.2
  done
  squeue >&2
  die "the jobs do not end"
}
works "$F" experiment run e.yaml -o alone
works "$F" experiment run e.yaml -o cluster --launcher slurm
grep -q "x vae" out && grep -q "x generator, after" out && grep -q "tables and report" out || die "the jobs are not told: $(cat out)"
wait_for
[ -s cluster/report.html ] || { cat cluster/slurm/*.out >&2; die "no report"; }
cmp alone/summary.csv cluster/summary.csv || die "the cluster gives other numbers"
for f in alone/scores/*.csv; do cmp "$f" "cluster/scores/${f##*/}" || die "other probabilities"; done
grep -q "^#SBATCH --partition=main" cluster/slurm/0-vae.sh && grep -q "^#SBATCH --mem=" cluster/slurm/0-vae.sh || die "options are lost"
works "$F" experiment run e.yaml -o cluster
grep -q "(0 stages computed" out || die "something is computed twice"
# a job that the scheduler ends saves its state, is queued again and continues; the numbers are those of an undisturbed run
sed -i 's/^vae:.*/vae: {steps: 900, batch: 2}/; s/^arms:.*/arms: [supervised, medsora-tiny]/' e.yaml
works "$F" experiment run e.yaml -o alone2 --set save_every=100000
works "$F" experiment run e.yaml -o cluster2 --launcher slurm --set save_every=100000
job=$(sed -n 's/^job \([0-9]*\): 1 x vae.*/\1/p' out)
for i in $(seq 200); do
  grep -q "continues\|epsilon\|vae" cluster2/slurm/0-vae-0.out 2>/dev/null && break
  [ "$(squeue -h -j "$job" -o %T)" = RUNNING ] && sleep 1.5 && break
  sleep 0.1
done
scancel --signal=TERM --batch "${job}_0"
wait_for
grep -q "interrupted at step" cluster2/slurm/0-vae-0.out || { cat cluster2/slurm/0-vae-0.out >&2; die "the job was not interrupted"; }
grep -q "continues at step" cluster2/slurm/0-vae-0.out || { cat cluster2/slurm/0-vae-0.out >&2; die "the job was not queued again"; }
cmp alone2/summary.csv cluster2/summary.csv || die "an interrupted job gives other numbers"
# a stage that fails: what hangs on it does not run, the rest does, and the report says what is missing
sed -i 's|^arms:.*|arms: [supervised, noise, "clips: torn.h5"]|; s/^rehearse:.*/rehearse: never/' e.yaml
head -c 5000 alone/clips/noise.h5 >torn.h5
works "$F" experiment run e.yaml -o cluster3 --launcher slurm
wait_for
works "$F" experiment status e.yaml -o cluster3
grep -q "^failed" out && [ "$(ls cluster3/runs/classifier-*/done.json | wc -l)" = 4 ] || die "one failure stopped others: $(cat out)"
grep -q "not computed yet" cluster3/slurm/report.out || die "the report does not say what is missing"
done_testing
