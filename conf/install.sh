#!/bin/sh
# install.sh FILE DIRECTORY: install FILE there, unless there is one of that name already.
set -eu
to="${DESTDIR:-}$2/$(basename "$1")"
if [ -e "$to" ]; then
	echo "Keeping $to"
else
	echo "Installing $1 to $(dirname "$to")"
	install -D -m 0644 "$1" "$to"
fi
