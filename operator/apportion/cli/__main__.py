"""python -m apportion.cli: the console script without the script."""

from apportion.cli import main

main()
