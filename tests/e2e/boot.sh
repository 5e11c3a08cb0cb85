#!/bin/bash
# Boots a plain Debian 12 with fieldgate installed as its service, in qemu, and asks systemd how it is.
#
# usage: boot.sh SOURCE_DIRECTORY
#
# Needs root, a mirror that debootstrap finds, and the packages qemu-system-x86, debootstrap and e2fsprogs; without
# them it is skipped. Emulates the machine, which takes some minutes; $FIELDGATE_BOOT_ACCEL, for example kvm, is
# what qemu shall use instead. $FIELDGATE_BOOT_ROOT: a directory with a system that debootstrap has made before,
# which is copied.
set -eu
source_dir=$(realpath "$1")
packages=systemd,systemd-sysv,udev,kmod,linux-image-cloud-amd64,mosquitto,mosquitto-clients
packages+=,libmosquitto1,libev4,libyaml-0-2,libssl3,libcurl4

skip() {
	echo "skipped: $1"
	exit 77
}
[ "$(id -u)" -eq 0 ] || skip "needs root"
for tool in qemu-system-x86_64 debootstrap mke2fs; do
	command -v "$tool" >/dev/null || skip "needs $tool"
done

work=$(mktemp -d "${TMPDIR:-/tmp}/fieldgate-boot-XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root

if [ -n "${FIELDGATE_BOOT_ROOT:-}" ]; then
	cp -a "$FIELDGATE_BOOT_ROOT" "$root"
else
	debootstrap --variant=minbase --include="$packages" bookworm "$root" >"$work/debootstrap.log" 2>&1 || {
		tail -n 5 "$work/debootstrap.log"
		skip "debootstrap cannot make a system"
	}
fi

meson setup "$work/build" "$source_dir" --prefix=/usr --sysconfdir=/etc -Dtests=disabled >"$work/build.log" 2>&1 &&
	ninja -C "$work/build" >>"$work/build.log" 2>&1 &&
	DESTDIR=$root meson install -C "$work/build" --no-rebuild >>"$work/build.log" 2>&1 || {
	tail -n 20 "$work/build.log"
	exit 1
}
chroot "$root" systemd-sysusers >/dev/null 2>&1
cat >"$root/etc/fieldgate/fieldgate.yaml" <<'YAML'
gateway: {name: booted}
local: {brokers: [{name: hall, url: "mqtt://127.0.0.1:1883"}]}
mappings: [{topic: "sensors/{device}"}]
clouds:
  - {name: nobody, plugin: thingsboard, url: "mqtt://127.0.0.1:9", access_token: {file: /etc/fieldgate/token}}
YAML
echo token >"$root/etc/fieldgate/token"
mkdir -p "$root/etc/systemd/system/fieldgate.service.d"
printf '[Service]\nWatchdogSec=10s\n' >"$root/etc/systemd/system/fieldgate.service.d/watchdog.conf"
cp "$source_dir/tests/e2e/boot_checks.sh" "$root/root/checks.sh"
cat >"$root/etc/systemd/system/checks.service" <<'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'sh /root/checks.sh >/dev/ttyS1 2>&1; sync; systemctl poweroff --force'
[Install]
WantedBy=graphical.target
UNIT
printf '/dev/vda / ext4 defaults 0 1\n' >"$root/etc/fstab"
echo booted >"$root/etc/hostname"
chroot "$root" systemctl enable mosquitto.service fieldgate.service checks.service >/dev/null 2>&1

mke2fs -q -t ext4 -d "$root" "$work/disk" 2G >/dev/null
kernel=$(ls "$root"/boot/vmlinuz-* | tail -n 1)
initrd=$(ls "$root"/boot/initrd.img-* | tail -n 1)
timeout "${FIELDGATE_BOOT_TIMEOUT:-900}" qemu-system-x86_64 \
	-accel "${FIELDGATE_BOOT_ACCEL:-tcg}" -m 512 -nographic -monitor none -nic none -no-reboot \
	-kernel "$kernel" -initrd "$initrd" -append "root=/dev/vda rw console=ttyS0 quiet" \
	-drive "file=$work/disk,format=raw,if=virtio,cache=unsafe" \
	-serial "file:$work/console" -serial "file:$work/results" </dev/null >"$work/qemu" 2>&1 || true

cat "$work/results" 2>/dev/null || true
if ! grep -q '^done' "$work/results" 2>/dev/null; then
	echo "the checks did not come to their end; the console:"
	tail -n 40 "$work/console" "$work/qemu"
	exit 1
fi
! grep -q '^not ok' "$work/results"
