#!/bin/sh
# Trimtab's package on a pure cgroup v2 host: a virtual machine of Debian 12 under TCG (no KVM needed), three guests in it,
# and what an admin would look at. docs/CGROUP-V2.md says what was seen. Needs root (chroot), debootstrap, e2fsprogs,
# binutils, qemu-system-x86, 4 GiB of disk, 3 GiB of memory.
#
#   docs/cgroup-v2-vm.sh tree DIR          makes the root file system, in DIR/tree
#   docs/cgroup-v2-vm.sh run DIR PACKAGE   makes an image with the package, boots it, prints what happens there, ends
#
# May not: write outside DIR.
set -eu
PACKAGES="polkitd dbus libvirt-daemon-system libvirt-clients libvirt-dbus qemu-system-x86 seabios linux-image-cloud-amd64
initramfs-tools zstd udev kmod procps"

tree() {
    debootstrap --variant=minbase --include=systemd-sysv,dbus,udev,kmod,procps bookworm "$DIR/tree"
    cp /etc/resolv.conf "$DIR/tree/etc/resolv.conf"
    printf '#!/bin/sh\nexit 101\n' > "$DIR/tree/usr/sbin/policy-rc.d"
    chmod +x "$DIR/tree/usr/sbin/policy-rc.d"
    mount -t proc proc "$DIR/tree/proc"
    trap 'umount "$DIR/tree/proc"' EXIT
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive chroot "$DIR/tree" apt-get install -y --no-install-recommends libpam-systemd $PACKAGES
    rm "$DIR/tree/usr/sbin/policy-rc.d"
}

# Guests whose whole system is a boot sector: Linux does not come up in useful time in TCG inside TCG. The one adds for ever,
# the other asks the BIOS to write 127 sectors, again and again.
sectors() {
    as --32 -o "$DIR/burn.o" - <<'S'
.code16
cli
1: inc %eax
jmp 1b
.org 510
.word 0xaa55
S
    as --32 -o "$DIR/write.o" - <<'S'
.code16
cli
xor %ax, %ax
mov %ax, %ds
mov %ax, %ss
mov $0x7c00, %sp
sti
again: mov $packet, %si
movw $0x4300, %ax
mov $0x80, %dl
int $0x13
movw sector, %ax
add $127, %ax
cmp $30000, %ax
jb 1f
mov $1000, %ax
1: movw %ax, sector
jmp again
packet: .byte 16, 0
.word 127, 0, 0x1000
sector: .quad 1000
.org 510
.word 0xaa55
S
    for load in burn write; do
        ld -m elf_i386 -e 0 -Ttext 0x7c00 --oformat binary -o "$DIR/tree/root/$load.bin" "$DIR/$load.o"
    done
}

# What runs inside.
inside() {
    cat <<'S'
#!/bin/bash
# Installs the package beside three guests, and looks. Prints to the console; powers off.
cd /root
export LC_ALL=C SYSTEMD_PAGER= SYSTEMD_COLORS=0
say() { printf '\n== %s\n' "$*"; }
group() { g=$(cut -d: -f3 "/proc/$(cat "/run/libvirt/qemu/$1.pid")/cgroup"); echo "${g%.scope*}.scope"; }
weights() {
    for guest in writer burner1 burner2; do
        echo "$guest: kernel $(cat "/sys/fs/cgroup$(group $guest)/cpu.weight"), libvirt $(virsh schedinfo $guest |
            awk '/cpu_shares/ { print $3 }'), systemd $(systemctl show --value -p CPUWeight "$(basename "$(group $guest)")")"
    done
}
# until SECONDS COMMAND...
until_() { for _ in $(seq "$1"); do "${@:2}" && return; sleep 1; done; echo "NOT SEEN: ${*:2}"; return 1; }
writer_is() { [ "$(cat "/sys/fs/cgroup$(group writer)/cpu.weight")" "$1" 100 ]; }
kept() { trimtabctl decisions 2>/dev/null | grep -q 'kept$'; }
as() { setpriv --reuid "$1" --regid "$1" --init-groups "${@:2}"; echo "exit $?"; }
guest() {
    img=/var/lib/libvirt/images/$1.raw
    cp "$2.bin" "$img"; truncate -s 16M "$img"
    cat > "$1.xml" <<X
<domain type='qemu'><name>$1</name><metadata><t:guest xmlns:t='urn:trimtab:guest:1'><t:weight>$3</t:weight></t:guest></metadata>
<memory unit='MiB'>32</memory><vcpu>1</vcpu><iothreads>1</iothreads>
<os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os><features><acpi/><apic/></features>
<cpu mode='custom' match='exact'><model fallback='forbid'>qemu64</model></cpu>
<devices><disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' io='threads' iothread='1'/>
<source file='$img'/><target dev='vda' bus='virtio'/></disk><memballoon model='none'/></devices></domain>
X
    virsh -q define "$1.xml" && virsh -q start "$1"
    # The loads on one CPU, so that weights matter; what answers libvirt on the other, so that it does answer.
    virsh -q vcpupin "$1" 0 0 --live; virsh -q iothreadpin "$1" 1 0 --live; virsh -q emulatorpin "$1" 1 --live
}
config() { mkdir -p /etc/trimtab/config.d; cat > "/etc/trimtab/config.d/$1.toml"; }

say "controllers: $(cat /sys/fs/cgroup/cgroup.controllers); libvirt $(virsh --version)"
guest writer write 2048; guest burner1 burn 1024; guest burner2 burn 1024
weights
say "what libvirt takes"
for weight in 1 2 10000 20000; do virsh schedinfo burner2 --live cpu_shares=$weight 2>&1 | grep -E 'shares|error'; done
virsh schedinfo burner2 --live cpu_shares=100 > /dev/null
config 50-quick <<'T'
[policy]
mode = "enforce"
[policy.identify]
window_ms = 2000
io_min_ops_per_s = 1.0
io_min_kib_per_s = 16.0
[policy.arbiter]
hold_ms = 0
cool_down_ms = 1000
min_gain_pct = 0.5
floor_pct = 0.0
backoff_first_ms = 1000
backoff_max_ms = 2000
after_command_ms = 0
[policy.trial]
before_ms = 4000
before_max_ms = 8000
settle_ms = 500
confidence_pct = 60.0
after_ms = 4000
after_max_ms = 8000
[libvirt]
bulk_timeout_ms = 10000
read_timeout_ms = 20000
T
say "install"
dpkg -i trimtab.deb
systemctl show -p ActiveState,NRestarts,Type trimtabd
systemd-analyze security trimtabd | tail -n 1
trimtabctl status
ps -o args= -C libvirt-dbus
say "a kept decision"
until_ 60 kept; trimtabctl pause
trimtabctl decisions; trimtabctl guests; trimtabctl guest writer | grep -E 'pressure|shares'; weights
say "systemctl daemon-reload"
systemctl daemon-reload; weights
say "revert of the newest kept one, restore"
trimtabctl revert "$(trimtabctl decisions | awk '$NF == "kept" { print $1; exit }')"; weights
trimtabctl restore --all; weights
say "killed in a trial that does not end"
printf '[policy.trial]\nafter_ms = 600000\nafter_max_ms = 600000\n' | config 70-endless
systemctl restart trimtabd
until_ 60 writer_is -ne; sleep 2; weights
printf '[policy]\nmode = "observe"\n' | config 70-endless
kill -9 "$(systemctl show --value -p MainPID trimtabd)"
until_ 60 writer_is -eq; sleep 5; weights
trimtabctl decisions -n 1; systemctl show -p NRestarts trimtabd
say "the admin's own weight in a trial"
printf '[policy.trial]\nafter_ms = 600000\nafter_max_ms = 600000\n' | config 70-endless
systemctl restart trimtabd
until_ 60 writer_is -ne; sleep 2; weights
virsh schedinfo writer --live cpu_shares=333 > /dev/null; sleep 15; weights
trimtabctl guests; trimtabctl decisions -n 1
virsh schedinfo writer --live cpu_shares=100 > /dev/null
say "polkit: bob, then alice of the group"
useradd bob; useradd -G trimtab alice
as bob trimtabctl mode observe; as alice trimtabctl mode observe
say "purge with a turned knob"
rm /etc/trimtab/config.d/70-endless.toml; trimtabctl restore --all
systemctl restart trimtabd
sleep 5; until_ 60 writer_is -ne; weights
dpkg --purge trimtab; weights
ls -d /var/lib/trimtab /run/trimtab /etc/trimtab; getent passwd trimtab; virsh list
say done
S
}

image() {
    tree=$DIR/tree
    sectors
    inside > "$tree/root/inside"
    chmod +x "$tree/root/inside"
    cp "$1" "$tree/root/trimtab.deb"
    echo "/dev/vda / ext4 noatime 0 0" > "$tree/etc/fstab"
    cat > "$tree/etc/systemd/system/inside.service" <<'S'
[Unit]
After=multi-user.target libvirtd.service
[Service]
ExecStart=/root/inside
ExecStopPost=/bin/systemctl poweroff --no-block
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
[Install]
WantedBy=multi-user.target
S
    chroot "$tree" systemctl --quiet enable inside.service
    chroot "$tree" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer
    rm -f "$DIR/image"
    truncate -s 3G "$DIR/image"
    mkfs.ext4 -q -F -d "$tree" "$DIR/image"
}

run() {
    image "$1"
    exec nice -n 10 qemu-system-x86_64 -accel tcg,thread=multi -machine pc -cpu max -smp 2 -m 3G \
        -display none -nic none -no-reboot \
        -kernel "$DIR"/tree/boot/vmlinuz-* -initrd "$DIR"/tree/boot/initrd.img-* \
        -append "root=/dev/vda rw console=ttyS0 quiet mitigations=off systemd.default_timeout_start_sec=300" \
        -drive "file=$DIR/image,if=virtio,format=raw,cache=unsafe" -device virtio-rng-pci \
        -serial "file:$DIR/console" -serial stdio
}

[ $# -ge 2 ] || { sed -n '2,9p' "$0"; exit 2; }
DIR=$(realpath "$2")
case $1 in
    tree) tree ;;
    run) run "${3:?package}" ;;
    *) echo "tree or run?" >&2; exit 2 ;;
esac
