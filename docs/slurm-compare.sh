#!/bin/sh
# Compares physical hosts with virtual clusters on them, as the field does: the same suites, with the same number of ranks, on
# the hosts, in one guest per host and in four guests per host, and then a table and bars.
#
#   TASKS=32 SIZE=1GiB docs/slurm-compare.sh HOST_PARTITION VM1_PARTITION VM4_PARTITION [SUITE...]
#
# The three partitions hold the same hardware (the physical nodes, and the guests as nodes of their own), so the jobs run one
# after the other, never together. Run it from a directory that all nodes share; settings are those of slurm-bench.sbatch. Suite
# hpcc needs SIZE or an hpccinf.txt there: sizes from the free memory of hosts and of guests cannot be compared.
set -eu
here=$(dirname "$0")
bench=${BENCH:-trimtab-bench}
dir=${DIR:-$PWD}
tasks=${TASKS:?the number of ranks, the same in all three}
[ $# -ge 3 ] || { sed -n '2,10p' "$0"; exit 2; }
host=$1 vm1=$2 vm4=$3
shift 3
[ $# -gt 0 ] || set -- hpcc osu
case " $* " in
*" hpcc "*)
    [ -n "${SIZE:-}" ] || [ -f hpccinf.txt ] || {
        echo "$0: suite hpcc: set SIZE to what fits into the smallest guest, in bytes a rank, or put an hpccinf.txt here" >&2
        exit 2
    }
    ;;
esac

submit() { # PARTITION LABEL [SUITE...]: the job, after the one before it
    partition=$1
    shift
    job=$(sbatch --parsable --partition="$partition" --ntasks="$tasks" ${job:+--dependency=afterok:$job} \
        "$here/slurm-bench.sbatch" "$@")
    echo "job $job: $1 on $partition"
}
job=
submit "$host" host "$@"
submit "$vm1" vm1 "$@"
submit "$vm4" vm4 "$@"
compare=
for suite in "$@"; do
    mkdir -p "$dir/$suite"
    files="$dir/host-$suite.json $dir/vm1-$suite.json $dir/vm4-$suite.json"
    compare="$compare $bench compare $files --baseline host --svg $dir/$suite;"
done
job=$(sbatch --parsable --partition="$host" --ntasks=1 --dependency=afterok:"$job" \
    --job-name=trimtab-compare --output="$dir/trimtab-compare-%j.out" --wrap "$compare")
echo "job $job: comparison, in $dir/trimtab-compare-$job.out"
