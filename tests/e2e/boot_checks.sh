# What boot.sh runs inside the machine it has booted, as root. A line a check: "ok …" or "not ok …".

check() {
	what=$1
	shift
	if out=$("$@" 2>&1); then
		echo "ok $what"
	else
		echo "not ok $what: $(echo "$out" | tail -n 5 | tr '\n' '|')"
	fi
}

# until SECONDS COMMAND…: waits for it to succeed.
until_true() {
	left=$1
	shift
	while ! "$@" >/dev/null 2>&1; do
		left=$((left - 1))
		[ "$left" -gt 0 ] || return 1
		sleep 1
	done
}

property() {
	systemctl show -p "$1" --value fieldgate
}
is() {
	[ "$(property "$1")" = "$2" ] || { echo "$1 is $(property "$1")"; false; }
}
active() {
	is ActiveState active
}
logged() {
	journalctl -b -u fieldgate -o cat | grep -E "$1"
}
logged_with_name() {
	journalctl -b -t fieldgate -o cat | grep -E "$1"
}
as() {
	setpriv --reuid "$(id -u "$1")" --regid "$(id -g "$1")" --clear-groups sh -c "$2"
}
refused_for_others() {
	! out=$(as nobody "fieldgatectl status" 2>&1) && echo "$out" &&
		echo "$out" | grep -q "only root and the user fieldgate runs as may"
}
# Where the daemon is, not even for root.
read_only() {
	! nsenter -t "$(property MainPID)" -m touch "$1/x" 2>/dev/null
}
not_its_own() {
	! as fieldgate "touch $1/x" 2>/dev/null
}
counted() {
	fieldgatectl status | grep -E "$1"
}
killed_and_back() {
	before=$(property MainPID)
	systemctl kill -s KILL --kill-who=main fieldgate
	until_true 60 sh -c "[ \"\$(systemctl show -p MainPID --value fieldgate)\" != $before ] &&
		[ \"\$(systemctl show -p MainPID --value fieldgate)\" != 0 ]" && until_true 60 active
}
hangs_and_back() {
	kill -STOP "$(property MainPID)"
	until_true 120 logged "[Ww]atchdog timeout" && killed=$(property NRestarts) && until_true 120 is NRestarts 2 &&
		until_true 60 active
}
stops_in_time() {
	begin=$(date +%s)
	systemctl stop fieldgate
	[ $(($(date +%s) - begin)) -le 15 ] && is ActiveState inactive && is Result success && is ExecMainStatus 0
}

check "the service starts with the system" until_true 120 active
check "it tells when it is ready" is Type notify
check "it has not been started again" is NRestarts 0
check "systemd watches it" is WatchdogUSec 10s
check "systemctl status says that it runs" sh -c 'systemctl status fieldgate | grep "Active: active (running)"'
check "its user is its own" is User fieldgate
check "the log has its name" logged_with_name "journal: open in /var/lib/fieldgate/journal"
check "it reaches the broker" until_true 60 logged "broker hall: connected"
check "a message is taken" sh -c 'mosquitto_pub -h 127.0.0.1 -q 1 -t sensors/pump-1 -m "{\"t\": 21}"'
check "and counted" until_true 20 counted "broker hall: .*appended=1 "
check "root may ask" fieldgatectl status
check "its own user may ask" as fieldgate "fieldgatectl status"
check "others may not, and are told who may" refused_for_others
check "the state directory is for nobody else" sh -c '[ "$(stat -c %a:%U /var/lib/fieldgate)" = 700:fieldgate ]'
for directory in / /usr /etc /var /var/log; do
	check "$directory is read-only where it runs" read_only "$directory"
done
check "its configuration is not its own" not_its_own /etc/fieldgate
check "it comes back after SIGKILL" killed_and_back
check "with what it had" until_true 60 counted "link nobody: .*backlog=1 "
check "it comes back when it hangs" hangs_and_back
check "no system call was refused to it" sh -c '! journalctl -b -k | grep "sig=31\|type=1326"'
check "it stops in time" stops_in_time
check "the journal is in order" fieldgatectl journal verify /var/lib/fieldgate
check "it starts again by hand" sh -c 'systemctl start fieldgate && systemctl is-active fieldgate'
echo done
