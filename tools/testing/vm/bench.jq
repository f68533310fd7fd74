# SPDX-License-Identifier: GPL-2.0
#
# From bench.json to a table: with $format "table" for a terminal, with "rst" for
# the documentation.

def titles: {
	"zero-lead": "Blackout without latencies, lead CPU",
	"zero-sum": "Blackout without latencies, all CPUs",
	"zero-time": "Blackout without latencies, wall time",
	"hardware-lead": "Blackout with latencies, lead CPU",
	"hardware-sum": "Blackout with latencies, all CPUs",
	"hardware-time": "Blackout with latencies, wall time",
	"hardware-modelled": "Blackout with latencies, modelled time",
	"hardware-limit": "Modelled time to physical limit",
	"refused-lead": "Refused update, lead CPU",
	"refused-sum": "Refused update, all CPUs",
	"refused-time": "Refused update, wall time",
	"tdmr-init": "TDH.SYS.TDMR.INIT, all calls",
	"upload-receive": "Upload: receiving the image",
	"upload-parse": "Upload: parsing it",
	"upload-signature": "Upload: its signature",
	"upload-hash": "Upload: the module's hash",
	"upload-checks": "Upload: the other checks",
	"upload-wait": "Upload: waiting for all CPUs to stop",
	"upload-result": "Upload: from the stop to its result",
	"size-text": "Size of text", "size-rodata": "Size of constant data",
	"size-data": "Size of data", "size-bss": "Size of bss",
	"kernel-text": "Patches add to text", "kernel-rodata": "Patches add to constant data",
	"kernel-data": "Patches add to data", "kernel-bss": "Patches add to bss",
	"memory-loaded": "Memory in use after loading",
	"memory-peak": "Memory in use at an update's peak",
	"boot": "Boot to a shell",
	"seamcalls": "SEAMCALLs through the simulator"
};

# What says nothing, or what another figure says better.
def hidden: ["zero-modelled", "refused-modelled"];

def grouped: tostring | [scan(".")] | reverse | [_nwise(3) | join("")] | join(",")
	| [scan(".")] | reverse | join("");
def fixed: if . >= 100 then round | grouped
	else (. * 100 | round) as $n | "\($n / 100 | floor).\("0\($n % 100)"[-2:])" end;
def number: if . < 0 then "-" + (-. | number) elif . == floor then grouped else fixed end;

# Nanoseconds are shown as microseconds.
def scaled($unit): if . == null then null elif $unit == "ns" then
	{ median: (.median / 1000), min: (.min / 1000), max: (.max / 1000) } else . end;
def unit: if . == "ns" then "µs" else . end;
def cell: if . == null then "" elif .min == .max then .median | number
	else "\(.median | number) (\(.min | number)..\(.max | number))" end;

def cpus: capture("^(?<n>[0-9]+) vCPU").n | tonumber;
# SHUTDOWN + N INSTALL, one after the other + INIT + LP.INIT at once + UPDATE
def limit_ns: 1e6 + cpus * 1e6 + 2e5 + 2e5 + 1e6;

# How many values each driver's median is of.
def counts: [.rust, .c, .neither | values | .runs | length] | unique | map(tostring) | join(", ");

def to_limit: .machine as $machine | ($machine | limit_ns) as $limit
	| def part: if . == null then null else { median: (.median / $limit), min: (.min / $limit), max: (.max / $limit), runs } end;
	{ figure: "hardware-limit", machine: "\($machine): \($limit / 1000 | grouped) µs", unit: "",
		rust: (.rust | part), c: (.c | part), ratio: null, neither: null };

def rows: .figures
	| map(select(.figure as $figure | hidden | index($figure) | not))
	| map(if .figure == "hardware-modelled" then (., to_limit) else . end)
	| sort_by(.figure as $figure | titles | keys_unsorted | index($figure))
	| map({
		title: (titles[.figure] // .figure), machine, n: counts, unit: (.unit | unit),
		rust: ((if .neither then .neither else .rust end) as $it | .unit as $unit | $it | scaled($unit) | cell),
		c: (.unit as $unit | .c | scaled($unit) | cell),
		ratio: (if .ratio then .ratio | fixed else "" end) })
	| [["Figure", "Machine", "Unit", "n", "driver", "C driver", "ratio"]]
		+ map([.title, .machine, .unit, .n, .rust, .c, .ratio]);

def figure($name; $machine): .figures[] | select(.figure == $name and (.machine | startswith($machine)));
def goal($what; $wanted; $value; met):
	if $value == null then empty else "\($what): \($value | fixed), wanted \($wanted): \(if $value | met then "met" else "missed" end)" end;
def goals: [
	goal("blackout, instructions on the lead CPU at 2 vCPUs, to the C driver's"; "at most 1.00";
		([figure("zero-lead"; "2 vCPUs").ratio] | first); . <= 1),
	goal("blackout with latencies at 8 vCPUs, modelled time to the physical limit"; "at most 1.02";
		([figure("hardware-modelled"; "8 vCPUs") | .rust.median / (.machine | limit_ns)] | first); . <= 1.02),
	goal("TDH.SYS.TDMR.INIT of 4 TDMRs on 4 vCPUs, times as fast as the C driver"; "at least 3.50";
		([figure("tdmr-init"; "TDMRs: 4, vCPUs: 4") | 1 / .ratio] | first); . >= 3.5),
	goal("TDH.SYS.TDMR.INIT of one TDMR, to the C driver's time"; "at most 1.05";
		([figure("tdmr-init"; "TDMRs: 1, vCPUs: 1").ratio] | first); . <= 1.05),
	goal("checks of the largest image, to its signature and hash alone"; "at most 1.30";
		([(figure("upload-signature"; "").rust.median + figure("upload-hash"; "").rust.median) as $alone
			| (figure("upload-parse"; "").rust.median + figure("upload-checks"; "").rust.median) as $others
			| ($alone + $others) / $alone] | first); . <= 1.3),
	goal("boot with the simulator, to the same boot without it"; "at most 1.50";
		([figure("boot"; "1 vCPU, simulator").neither.median / figure("boot"; "1 vCPU, no simulator").neither.median]
			| first); . <= 1.5),
	goal("text of tdx-host.ko in KiB"; "at most 64";
		([figure("size-text"; "tdx-host.ko") | .rust.median / 1024] | first); . <= 64)
];

def pad($width): . + (" " * ($width - length));
def widths: transpose | map(map(length) | max);

def made: "\(.date), revision \(.revision), Linux \(.kernel), QEMU \(.qemu), rustc \(.rustc), gcc \(.gcc), \(.cores) cores; medians of n values (least..most); \(.seconds) s";

def table: rows as $rows | ($rows | widths) as $widths
	| ($rows | map([., $widths] | transpose | map(.[0] as $text | .[1] as $width | $text | pad($width)) | join("  ") | sub(" +$"; ""))),
		[""], (goals | map("goal: " + .)), [""], [made]
	| .[];

def rst: rows as $rows | ($rows | map(map(if . == "" then ".." else . end))) as $cells
	| ($cells | widths) as $widths
	| ($widths | map("=" * .) | join("  ")) as $rule
	| [".. Made by: tools/testing/vm/bench --rst bench.json", "", $rule],
		($cells | map([., $widths] | transpose | map(.[0] as $text | .[1] as $width | $text | pad($width)) | join("  ") | sub(" +$"; ""))
			| [.[0], $rule] + .[1:]),
		[$rule, "", "Goals:", ""], (goals | map("- " + .)), ["", "Made by ``make bench`` on \(made)."]
	| .[];

if $format == "rst" then rst else table end
