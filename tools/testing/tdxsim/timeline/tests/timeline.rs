// SPDX-License-Identifier: GPL-2.0

//! Timelines of recorded traces: that all is in them, and what is said of bad ones.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use roxmltree::{Document, Node};
use serde_json::Value;
use tdxsim_timeline::stops::{self, Ending};
use tdxsim_timeline::trace::Trace;
use tdxsim_timeline::{picture, words};

/// An update that an interrupted migration keeps off, the same again with success, and
/// one that fails at SEAMLDR.INSTALL, on two CPUs.
const RECORDED: &str = include_str!("recorded.trace");

/// The picture, read by an XML parser.
fn with_picture(trace: &str, check: impl FnOnce(&Document<'_>)) {
    let picture = picture::draw(&Trace::parse(trace).unwrap(), "A title with <&>\"");
    check(&Document::parse(&picture).unwrap());
}

fn is(node: &Node<'_, '_>, class: &str) -> bool {
    let classes = node.attribute("class").unwrap_or("");
    classes.split(' ').any(|word| word == class)
}

fn number(node: &Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).unwrap().parse().unwrap()
}

/// All texts of a picture.
fn texts(picture: &Document<'_>) -> Vec<String> {
    let nodes = picture.descendants();
    nodes
        .filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")))
        .map(|node| node.text().unwrap_or("").trim().to_owned())
        .collect()
}

/// A trace of calls that succeed, with `begin` and `duration` in microseconds.
fn call(leaf: &str, cpu: usize, begin: u64, duration: u64) -> String {
    format!(
        "{{\"t_ns\":{},\"dur_ns\":{},\"vcpu\":{cpu},\"leaf\":\"{leaf}\",\"version\":0,\
         \"outcome\":\"completed\",\"status\":\"0x0\",\"name\":\"SUCCESS\",\"insn\":0}}\n",
        begin * 1000,
        duration * 1000
    )
}

#[test]
fn every_seamcall_of_a_recorded_trace_is_in_the_picture() {
    // Read here in another way than the program does.
    let mut wanted: BTreeMap<(u64, u64, u64, String), usize> = BTreeMap::new();
    for line in RECORDED.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(leaf) = line["leaf"].as_str() {
            let number = |key: &str| line[key].as_u64().unwrap();
            let (begin, end) = (number("t_ns"), number("t_ns") + number("dur_ns"));
            *wanted
                .entry((number("vcpu"), begin, end, leaf.to_owned()))
                .or_default() += 1;
        }
    }
    assert!(wanted.len() >= 40, "{}", wanted.len());
    with_picture(RECORDED, |picture| {
        let mut found = BTreeMap::new();
        for bar in picture.descendants().filter(|node| is(node, "call")) {
            let key = |name: &str| bar.attribute(name).unwrap().parse::<u64>().unwrap();
            let leaf = bar.attribute("data-leaf").unwrap().to_owned();
            *found
                .entry((key("data-cpu"), key("data-begin"), key("data-end"), leaf))
                .or_default() += 1;
            // It can be seen.
            assert!(number(&bar, "width") >= 1.0 && number(&bar, "height") >= 1.0);
            assert!(number(&bar, "x") >= 0.0);
            assert!(number(&bar, "x") + number(&bar, "width") <= 1000.0);
        }
        assert_eq!(found, wanted);
    });
}

#[test]
fn a_picture_has_a_title_a_description_and_a_legend() {
    with_picture(RECORDED, |picture| {
        let root = picture.root_element();
        assert_eq!(root.attribute("role"), Some("img"));
        let by_id = |id: &str| {
            let mut nodes = root.children();
            nodes.find(|node| node.attribute("id") == Some(id)).unwrap()
        };
        assert_eq!(root.attribute("aria-labelledby"), Some("title description"));
        assert_eq!(
            by_id("title").text().map(str::trim),
            Some("A title with <&>\"")
        );
        let description = by_id("description").text().unwrap().trim();
        assert_eq!(
            description,
            words::describe(&Trace::parse(RECORDED).unwrap()).trim()
        );
        let style = root
            .children()
            .find(|node| node.tag_name().name() == "style");
        assert!(style
            .unwrap()
            .text()
            .unwrap()
            .contains("prefers-color-scheme: dark"));
        let texts = texts(picture);
        for label in [
            "TDH.SYS.SHUTDOWN (3)",
            "all CPUs stopped",
            "failed",
            "CPU 0",
            "CPU 1",
        ] {
            assert!(texts.iter().any(|text| text == label), "{label}: {texts:?}");
        }
        for label in ["SYS_SHUTDOWN", "SYS_READY"] {
            assert!(texts.iter().any(|text| text == label), "{label}: {texts:?}");
        }
    });
}

#[test]
fn stops_end_when_the_last_cpu_has_left() {
    let trace = Trace::parse(RECORDED).unwrap();
    let stops = stops::find(&trace);
    let endings: Vec<&Ending> = stops.iter().map(|stop| &stop.ending).collect();
    let status = |name: &str| name.to_owned();
    assert_eq!(
        endings,
        [
            &Ending::Refused(status("UPDATE_COMPAT_SENSITIVE")),
            &Ending::Updated,
            &Ending::Failed("SEAMLDR.INSTALL".to_owned(), status("SEAMLDR_EBADHASH")),
        ]
    );
    for stop in &stops {
        assert!(stop.end_is_known);
        assert_eq!(stop.left.len(), 2);
        assert_eq!(stop.left.iter().max(), Some(&stop.end));
        assert!(stop.left.iter().all(|left| *left > stop.begin));
        let ends = stop.calls.iter().map(|index| trace.calls[*index].end);
        assert!(ends.max().unwrap() <= stop.end);
    }
    with_picture(RECORDED, |picture| {
        let stopped = picture.descendants().filter(|node| is(node, "stopped"));
        assert_eq!(stopped.count(), 3);
        let texts = texts(picture).join("\n");
        for ending in [
            ": updated",
            ": refused, ",
            ": failed, SEAMLDR.INSTALL: SEAMLDR_EBADHASH",
        ] {
            assert!(texts.contains(ending), "{texts}");
        }
    });
}

#[test]
fn a_call_that_fails_is_crossed_out() {
    with_picture(RECORDED, |picture| {
        let count = |class: &str| {
            let nodes = picture.descendants();
            nodes.filter(|node| is(node, class)).count()
        };
        let failed = count("failed");
        assert!(failed >= 2);
        // One more is in the legend.
        assert_eq!(count("cross"), failed + 1);
    });
}

#[test]
fn without_a_word_of_leaving_a_stop_ends_with_its_last_step() {
    let trace = [
        call("TDH.SYS.SHUTDOWN", 0, 100, 10),
        call("SEAMLDR.INSTALL", 1, 120, 30),
        call("TDH.SYS.RD", 1, 200, 10),
    ];
    let stops = stops::find(&Trace::parse(&trace.concat()).unwrap());
    assert_eq!(
        (stops.len(), stops[0].begin, stops[0].end),
        (1, 100_000, 150_000)
    );
    assert!(!stops[0].end_is_known);
    assert_eq!(stops[0].ending, Ending::Open);
}

#[test]
fn sixty_four_cpus_have_a_lane_each() {
    let mut trace = call("TDH.SYS.SHUTDOWN", 0, 0, 1000);
    for cpu in 0..64 {
        trace += &call("SEAMLDR.INSTALL", cpu, 1000 + 1000 * cpu as u64, 1000);
    }
    with_picture(&trace, |picture| {
        let texts = texts(picture);
        for cpu in 0..64 {
            let label = format!("CPU {cpu}");
            assert!(texts.iter().any(|text| *text == label), "{label}");
        }
        let mut edges: Vec<(f64, f64)> = picture
            .descendants()
            .filter(|node| is(node, "install") && is(node, "call"))
            .map(|bar| {
                (
                    number(&bar, "y"),
                    number(&bar, "y") + number(&bar, "height"),
                )
            })
            .collect();
        assert_eq!(edges.len(), 64);
        edges.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(edges.windows(2).all(|two| two[0].1 <= two[1].0));
        assert!(edges.iter().all(|edge| edge.1 - edge.0 >= 8.0));
    });
}

#[test]
fn what_is_between_marks_can_be_cut_out() {
    let mark = |name: &str, time: u64| {
        format!("{{\"t_ns\":{time}000,\"event\":\"mark\",\"vcpu\":0,\"what\":\"{name}\"}}\n")
    };
    let state = |name: &str, time: u64| {
        format!("{{\"t_ns\":{time}000,\"event\":\"state\",\"vcpu\":0,\"what\":\"{name}\"}}\n")
    };
    let trace = [
        call("TDH.SYS.INIT", 0, 10, 10),
        state("SYSINIT_DONE", 20),
        mark("a", 30),
        call("TDH.SYS.RD", 0, 40, 10),
        mark("b", 60),
        call("TDH.SYS.LP.INIT", 0, 70, 10),
    ];
    let trace = Trace::parse(&trace.concat()).unwrap();
    let leaves = |part: &Trace| {
        let leaves = part.calls.iter().map(|call| call.leaf.clone());
        leaves.collect::<Vec<_>>()
    };
    let part = trace.between(Some("a"), Some("b")).unwrap();
    assert_eq!(leaves(&part), ["TDH.SYS.RD"]);
    assert_eq!(part.state.as_deref(), Some("SYSINIT_DONE"));
    assert_eq!(part.begin(), 40_000);
    let part = trace.between(None, Some("a")).unwrap();
    assert_eq!(leaves(&part), ["TDH.SYS.INIT"]);
    assert_eq!(part.state, None);
    assert_eq!(
        trace.between(Some("c"), None).unwrap_err(),
        "there is no mark \"c\"; these are there: a, b"
    );
    assert_eq!(
        trace.between(Some("b"), Some("a")).unwrap_err(),
        "there is no SEAMCALL between the marks"
    );
}

#[test]
fn what_is_wrong_with_a_trace_is_said() {
    let good = call("TDH.SYS.INIT", 0, 1, 1);
    let error = |line: &str| Trace::parse(&format!("{good}{line}\n")).unwrap_err();
    for (line, message) in [
        (
            "{\"t_ns\":1",
            "line 2: not a line of a trace: EOF while parsing",
        ),
        ("[1]", "line 2: not a line of a trace: "),
        ("{}", "line 2: \"t_ns\" is missing"),
        (
            "{\"t_ns\":-1,\"event\":\"reset\"}",
            "line 2: not a line of a trace: invalid value",
        ),
        (
            "{\"t_ns\":1}",
            "line 2: neither \"leaf\" nor \"event\" is there",
        ),
        (
            "{\"t_ns\":1,\"event\":\"a\",\"leaf\":\"b\"}",
            "line 2: both \"leaf\" and \"event\" are there",
        ),
        (
            "{\"t_ns\":1,\"event\":\"back\"}",
            "line 2: \"vcpu\" is missing",
        ),
        (
            "{\"t_ns\":1,\"event\":\"back\",\"vcpu\":64}",
            "line 2: \"vcpu\" is 64; there are at most 64",
        ),
    ] {
        let error = error(line);
        assert!(error.starts_with(message), "{line}: {error}");
    }
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from));
        error(good.replace(from, to).trim())
    };
    assert_eq!(changed("\"vcpu\":0,", ""), "line 2: \"vcpu\" is missing");
    assert_eq!(
        changed("\"dur_ns\":1000,", ""),
        "line 2: \"dur_ns\" is missing"
    );
    assert_eq!(
        changed("\"outcome\":\"completed\",", ""),
        "line 2: \"outcome\" is missing"
    );
    assert_eq!(
        changed("\"status\":\"0x0\",", ""),
        "line 2: \"status\" is missing"
    );
    assert_eq!(
        changed("\"0x0\"", "\"zero\""),
        "line 2: \"status\" is \"zero\", which is no number"
    );
    assert_eq!(
        changed("TDH.SYS.INIT", "<b>"),
        "line 2: \"leaf\" is \"<b>\", which is no leaf's name"
    );
    assert_eq!(
        changed("\"dur_ns\":1000", &format!("\"dur_ns\":{}", u64::MAX)),
        "line 2: \"t_ns\" and \"dur_ns\" are beyond 64 bits"
    );
    assert_eq!(Trace::parse("").unwrap_err(), "there is no SEAMCALL in it");
    assert_eq!(
        Trace::parse("{\"t_ns\":1,\"event\":\"reset\"}").unwrap_err(),
        "there is no SEAMCALL in it"
    );
}

#[test]
fn text_that_xml_cannot_have_does_no_harm() {
    let line = call("TDH.SYS.INIT", 0, 1, 1).replace("SUCCESS", "<\\u0000&\\u001b[1m");
    with_picture(&line, |picture| {
        let titles = picture.descendants().filter_map(|node| node.text());
        assert!(titles
            .into_iter()
            .any(|text| text.contains("<\u{fffd}&\u{fffd}[1m")));
    });
}

/// Runs the program.
fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tdxsim-timeline"));
    command.args(arguments).output().unwrap()
}

#[test]
fn the_program_draws_and_tells() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded.trace");
    let drawn = run(&["--title", "T", path]);
    assert!(drawn.status.success());
    assert_eq!(
        String::from_utf8(drawn.stdout).unwrap(),
        picture::draw(&Trace::parse(RECORDED).unwrap(), "T")
    );
    let told = run(&["--words", path]);
    assert_eq!(
        String::from_utf8(told.stdout).unwrap(),
        words::describe(&Trace::parse(RECORDED).unwrap())
    );
}

#[test]
fn the_program_names_the_file_that_is_wrong() {
    let failed = run(&["/nowhere/at/all"]);
    assert_eq!(failed.status.code(), Some(1));
    let message = String::from_utf8(failed.stderr).unwrap();
    assert!(
        message.starts_with("tdxsim-timeline: /nowhere/at/all: No such file"),
        "{message}"
    );
    let failed = run(&[env!("CARGO_BIN_EXE_tdxsim-timeline")]);
    let message = String::from_utf8(failed.stderr).unwrap();
    assert!(message.contains("not a trace: byte "), "{message}");
}
