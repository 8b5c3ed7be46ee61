# Writes a growing number to /data/sequence, each durable before the next, and says about once a second on the serial
# port how far it is and the longest time between two completed writes since it last said so:
#
#     writer seq=1234 longest_gap_ms=12.3
#
# So whoever freezes, pauses or snapshots this guest reads in the next line how long its programs stood still.
# System calls by number (x86-64): Perl's core then needs no modules, which would cost an emulated processor seconds.
use strict;

my ($CLOCK_GETTIME, $CLOCK_MONOTONIC, $FDATASYNC) = (228, 1, 75);
my $O_RDWR_CREATE = 0x42;
# From the kernel's command line. Between two writes, as an emulated processor is slow and must be shared by several
# guests; no gap shorter than this can be seen.
my $pause = $ENV{pause_ms} / 1000;

sub now_ms {
    my $time = pack('q2', 0, 0);
    syscall($CLOCK_GETTIME, $CLOCK_MONOTONIC, $time);
    my ($seconds, $nanoseconds) = unpack('q2', $time);
    return $seconds * 1000 + $nanoseconds / 1e6;
}

sysopen(my $file, '/data/sequence', $O_RDWR_CREATE) or die "open: $!";
sysread($file, my $before, 32);
my $sequence = int($before || 0);

$| = 1;
my $last = now_ms();
my ($reported, $longest) = (0, 0);    # the first write is reported at once: the lab waits for that line
while (1) {
    $sequence++;
    sysseek($file, 0, 0);
    syswrite($file, sprintf("%012d\n", $sequence)) or die "write: $!";
    syscall($FDATASYNC, fileno($file)) == 0 or die "fdatasync: $!";
    my $now = now_ms();
    $longest = $now - $last if $now - $last > $longest;
    $last = $now;
    if ($now - $reported >= 1000) {
        printf("writer seq=%d longest_gap_ms=%.1f\n", $sequence, $longest);
        ($reported, $longest) = ($now, 0);
    }
    select(undef, undef, undef, $pause);
}
