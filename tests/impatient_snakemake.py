"""`snakemake` whose Slurm plugin asks for its jobs every second, for a cluster whose jobs last seconds.

After each look that finds no job at its end the plugin waits ten seconds longer, up to three minutes, and no option
changes that.
"""

from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda executor: 1, lambda executor, seconds: None)

if __name__ == "__main__":
    main()
