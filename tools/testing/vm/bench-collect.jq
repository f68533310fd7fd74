# SPDX-License-Identifier: GPL-2.0
#
# From the lines that bench writes (figure, machine, driver, unit and value) to
# bench.json.

def median:
	sort | if length % 2 == 1 then .[length / 2 | floor]
	else (.[length / 2 - 1] + .[length / 2]) / 2 end;

def summary: if length == 0 then null else { median: median, min: min, max: max, runs: . } end;

# As many as stand on the same machine, in the order in which they came.
def groups(key): reduce .[] as $row ([];
	($row | key) as $key
	| (map(.key == $key) | index(true)) as $at
	| if $at == null then . + [{ key: $key, rows: [$row] }] else .[$at].rows += [$row] end);

def values($driver): map(select(.driver == $driver).value);

{
	date: $date, kernel: $kernel, revision: $revision, qemu: $qemu, rustc: $rustc, gcc: $gcc,
	cores: ($cores | tonumber), seconds: ($seconds | tonumber), runs: $runs,
	figures: (split("\n") | map(select(. != "") | split("\t")
		| { figure: .[0], machine: .[1], driver: .[2], unit: .[3], value: (.[4] | tonumber) })
		| groups([.figure, .machine, .unit])
		| map(.key as $key | .rows
			| { figure: $key[0], machine: $key[1], unit: $key[2],
				rust: (values("rust") | summary), c: (values("c") | summary),
				neither: (values("-") | summary) }
			| .ratio = (if .rust and .c and .c.median != 0 then .rust.median / .c.median else null end)))
}
