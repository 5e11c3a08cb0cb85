# The Debian 12 packages each job needs, and a quick way to have them. Sourced by tests/run.sh and
# quickstart.sh.

packages_build=(gcc libc6-dev meson ninja-build pkg-config libmosquitto-dev libcurl4-openssl-dev libssl-dev libyaml-dev libev-dev libjson-c-dev zlib1g-dev)
# What stands in for clouds and brokers; libcmocka-dev so that one build directory serves the tests too.
packages_sim=(libcmocka-dev mosquitto mosquitto-clients mosquitto-dev python3 python3-paho-mqtt openssl)
packages_test=("${packages_sim[@]}" clang libclang-rt-14-dev clang-format groff-base valgrind systemd
	iproute2 procps tzdata)
packages_bench=(libsqlite3-dev)

# install_packages NAME…: does nothing, quickly, when all are there; else sets has_installed.
install_packages() {
	local missing
	missing=$(dpkg-query -W -f '${binary:Package} ${Status}\n' "$@" 2>/dev/null |
		sed -n 's/^\([^ :]*\)[^ ]* install ok installed$/\1/p' | sort | comm -13 - <(printf '%s\n' "$@" | sort -u))
	[ -z "$missing" ] && return 0
	if [ "$(id -u)" -ne 0 ]; then
		echo "missing packages: "$missing >&2
		echo "run this once as root, or: apt-get install "$missing >&2
		return 1
	fi
	echo "== installing" $missing
	# shellcheck disable=SC2034
	has_installed=yes
	export DEBIAN_FRONTEND=noninteractive
	# The mosquitto package would start a broker of its own on port 1883: not on our account.
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
		chmod 755 /usr/sbin/policy-rc.d
		local status=0
		_install_packages "$missing" || status=$?
		rm -f /usr/sbin/policy-rc.d
		return $status
	fi
	_install_packages "$missing"
}

_install_packages() {
	local missing=$1
	# Word splitting is wanted: one argument a package.
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $missing >/tmp/fieldgate-apt.$$ 2>&1 ||
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/tmp/fieldgate-apt.$$ 2>&1 || {
		cat /tmp/fieldgate-apt.$$ >&2
		rm -f /tmp/fieldgate-apt.$$
		return 1
	}
	rm -f /tmp/fieldgate-apt.$$
}
