#!/bin/bash
# Workers of one study, one a task of the array:
#     sbatch --array=0-99 examples/cluster/slurm.sh phone
#SBATCH --job-name=codesign-worker
#SBATCH --array=0-99
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=codesign-worker-%A_%a.log
set -euo pipefail

study=${1:?the name of the study}

# The storage's URL holds a password: from a file of this user's alone, or from the environment.
file=${CODESIGN_STORAGE_FILE:-$HOME/.codesign_storage}
if [[ -z ${CODESIGN_STORAGE:-} ]]; then
    rights=$(stat --dereference --format=%a "$file")
    if [[ $rights != ?00 ]]; then
        echo "$file: others can read it (mode $rights): chmod 600 $file" >&2
        exit 2
    fi
    CODESIGN_STORAGE=$(<"$file")
fi
export CODESIGN_STORAGE
export OMP_NUM_THREADS=1 # a worker computes in one thread, so that results do not depend on it

# A worker ends with 0 when the study ends. One that fails, or finds no study yet, is started again.
for pause in 10 20 40 80 160 320 0; do
    code=0
    codesign worker --study "$study" || code=$?
    if ((code == 0)); then
        exit 0
    fi
    echo "task ${SLURM_ARRAY_TASK_ID:-0}: the worker ended with code $code; again in $pause s" >&2
    sleep "$pause"
done
exit "$code"
