#!/bin/bash
# Stage train on several nodes of a Slurm cluster:
#
#   sbatch deploy/cluster/slurm.sh
#
# from the project's folder, which all nodes see, after its stages prepare and tokenize. A node's
# processes are torchrun's; PROCESSES of them each, which divide the batch (docs/cluster.md).
#SBATCH --job-name=tinyllm
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output=tinyllm-%j.log
# before it runs out of time or is preempted: the run keeps its state then, and ends
#SBATCH --signal=TERM@120
set -euo pipefail

cd "$SLURM_SUBMIT_DIR"
export PATH="$PWD/.venv/bin:$PATH"
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# jobs that share a node must not meet
port=$((20000 + SLURM_JOB_ID % 10000))

# exec, so that a signal to the job reaches srun, which passes it on. Since Slurm 22.05, srun does not
# take the number of cores from sbatch, and a task would get a single one
exec srun --kill-on-bad-exit=0 --cpus-per-task="$SLURM_CPUS_PER_TASK" torchrun \
    --nnodes="$SLURM_JOB_NUM_NODES" \
    --nproc-per-node="${PROCESSES:-1}" \
    --max-restarts=10 \
    --rdzv-id="$SLURM_JOB_ID" \
    --rdzv-backend=c10d \
    --rdzv-endpoint="$first:$port" \
    --rdzv-conf=read_timeout=600,join_timeout=1800 \
    -m stages.train
