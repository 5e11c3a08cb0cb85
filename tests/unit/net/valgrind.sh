#!/bin/sh
# Run a program under valgrind; 77, "skipped", where there is none.
command -v valgrind >/dev/null 2>&1 || exit 77
exec valgrind -q --leak-check=full --errors-for-leak-kinds=definite,indirect \
	--show-leak-kinds=definite,indirect --error-exitcode=1 --num-callers=30 "$@"
