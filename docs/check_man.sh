#!/bin/sh
# check_man.sh PAGE…: groff has nothing to complain about, and no Markdown is left in what it prints.
status=0
for page; do
	complaints=$(LC_ALL=C.UTF-8 groff -K utf8 -T utf8 -t -man -ww -rLL=120n -z "$page" 2>&1 |
		grep -v "can't break line") # a long word in a narrow column
	left=$(LC_ALL=C.UTF-8 groff -K utf8 -T utf8 -P -c -t -man -rLL=120n "$page" 2>/dev/null | sed 's/.\x08//g' |
		grep -n '\*\*[^ ]\|```\|^ *: \|^ *#\+ [A-Z]')
	if [ -n "$complaints$left" ]; then
		printf '%s:\n%s\n%s\n' "$page" "$complaints" "$left"
		status=1
	fi
done
exit $status
