#!/bin/bash
# sbatch slurm.sh /shared/runs/compare-NAME-HASH
#SBATCH --job-name=encore
#SBATCH --array=1-16
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --signal=B:TERM@60
#SBATCH --open-mode=append
#SBATCH --output=/shared/log/%x-%a.txt
set -euo pipefail
export PATH="/shared/.venv/bin:$PATH"
# Sixty seconds before its time is up it ends; the others, or the next array, resume its run.
exec encore worker "$1"
