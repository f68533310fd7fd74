# SPDX-License-Identifier: GPL-2.0
#
# From the trace of uploads to how long each of their phases took, in
# nanoseconds. A phase ends where the next thing begins that can be seen: a mark,
# or a SEAMCALL.

def is($name): .event == "mark" and .what == $name;
def first_of(condition): first(.[] | select(condition)) // null;

# The time between two things, if both were there.
def phase($name; $from; $to): if $from and $to then "\($name) \($to - $from)" else empty end;

sort_by(.t_ns)
| . as $trace
| ($trace | map(is("upload")) | indices(true))[] as $first
| $trace[$first:]
| .[: map(is("idle")) | index(true) + 1]
| first_of(.leaf == "TDH.SYS.SHUTDOWN").t_ns as $shutdown
| first_of(is("fw_upload_main")).t_ns as $worker
# The last call before the shutdown; others are somebody else's. stop_machine() has
# the other function do it, which the C driver calls directly.
| map(select((is("stop_machine") or is("stop_machine_cpuslocked")) and .t_ns < $shutdown)) as $stops
| (if ($stops[-2] | is("stop_machine")) and ($stops[-1] | is("stop_machine_cpuslocked"))
	then $stops[-2] else $stops[-1] end).t_ns as $stop
# Of what the image's signature covers, of the module, and of the key.
| (map(select(is("sha384")).t_ns)) as $hashes
| first_of(is("crypto_alloc_sig")).t_ns as $signature
| first_of(.leaf == "SEAMLDR.INFO").t_ns as $checks
| phase("upload-receive"; first_of(is("upload")).t_ns; first_of(is("received")).t_ns),
	phase("upload-parse"; $worker; $signature // $stop),
	phase("upload-signature"; $signature; $hashes[1]),
	phase("upload-hash"; $hashes[1]; $checks),
	phase("upload-checks"; $checks; $stop),
	phase("upload-wait"; $stop; $shutdown),
	phase("upload-result"; map(select(.event == "back").t_ns) | max; first_of(is("idle")).t_ns)
