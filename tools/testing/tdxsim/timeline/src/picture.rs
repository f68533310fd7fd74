// SPDX-License-Identifier: GPL-2.0

//! The picture: an SVG with a lane for each CPU and a bar for each SEAMCALL.

use std::collections::BTreeMap;

use svg::node::element::{
    Description, Group, Line, Path, Rectangle, Style, Text as TextElement, Title,
};
use svg::node::{Node, Text};
use svg::Document;

use crate::leaves::{short, Kind};
use crate::scale::{Scale, CUT_WIDTH};
use crate::stops::{self, Ending, Stop};
use crate::trace::{Call, Happening, Trace};
use crate::words;

/// Of the picture, in pixels.
const WIDTH: f64 = 1000.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = 16.0;

/// Where rows are, from the top.
const TITLE: f64 = 24.0;
const SUBTITLE: f64 = 42.0;
const ENDINGS: f64 = 66.0;
const ENDING_ROW: f64 = 14.0;
const LABEL_ROW: f64 = 13.0;

/// About how wide a character is, and a bold one.
const CHARACTER: f64 = 6.2;
const BOLD: f64 = 7.4;

/// A bar is at least so wide.
const THINNEST: f64 = 1.5;

/// The picture of a trace.
pub fn draw(trace: &Trace, title: &str) -> String {
    let stops = stops::find(trace);
    let picture = Picture::new(trace, &stops);
    picture.document(title).to_string() + "\n"
}

/// XML has no place for most control characters.
fn printable(text: &str) -> String {
    let clean = |letter: char| match letter {
        '\n' => '\n',
        letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => '\u{fffd}',
        letter => letter,
    };
    text.chars().map(clean).collect()
}

/// A coordinate, short.
fn at(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn rectangle(class: &str, x: f64, y: f64, width: f64, height: f64) -> Rectangle {
    Rectangle::new()
        .set("class", class)
        .set("x", at(x))
        .set("y", at(y))
        .set("width", at(width))
        .set("height", at(height))
}

fn line(class: &str, x1: f64, y1: f64, x2: f64, y2: f64) -> Line {
    Line::new()
        .set("class", class)
        .set("x1", at(x1))
        .set("y1", at(y1))
        .set("x2", at(x2))
        .set("y2", at(y2))
}

fn text(class: &str, x: f64, y: f64, content: &str) -> TextElement {
    let element = TextElement::new(printable(content))
        .set("x", at(x))
        .set("y", at(y));
    if class.is_empty() {
        element
    } else {
        element.set("class", class)
    }
}

/// What a pointer that rests on an element shows.
fn tooltip(content: &str) -> Title {
    Title::new(printable(content))
}

/// Labels that are put into as many rows as they need in order not to overlap.
struct Rows {
    /// Where the last label of each row ends.
    ends: Vec<f64>,
}

impl Rows {
    /// The row for a label that begins at `left`.
    fn row(&mut self, left: f64, width: f64) -> usize {
        let row = match self.ends.iter().position(|end| *end <= left) {
            Some(row) => row,
            None => {
                self.ends.push(0.0);
                self.ends.len() - 1
            }
        };
        self.ends[row] = left + width;
        row
    }
}

/// A label with a place: where it begins, and in which row.
struct Label {
    /// What it is about.
    anchor: f64,
    left: f64,
    row: usize,
    text: String,
}

/// Places labels so that none is cut off or lies on another one.
fn place_labels(wanted: Vec<(f64, String)>, character: f64) -> (Vec<Label>, usize) {
    let mut rows = Rows { ends: Vec::new() };
    let labels: Vec<Label> = wanted
        .into_iter()
        .map(|(anchor, text)| {
            let width = text.chars().count() as f64 * character + 12.0;
            let left = anchor.min(WIDTH - RIGHT - width).max(LEFT);
            Label {
                anchor,
                left,
                row: rows.row(left, width),
                text,
            }
        })
        .collect();
    (labels, rows.ends.len())
}

/// What is known before drawing.
struct Picture<'a> {
    trace: &'a Trace,
    stops: &'a [Stop],
    scale: Scale,
    cpus: usize,
    /// The distance from lane to lane.
    pitch: f64,
    endings: Vec<Label>,
    /// States and marks, with the class of their line.
    changes: Vec<(Label, &'static str)>,
    /// Where the labels of changes begin, and lanes begin and end.
    labels_top: f64,
    top: f64,
    bottom: f64,
}

impl<'a> Picture<'a> {
    fn new(trace: &'a Trace, stops: &'a [Stop]) -> Picture<'a> {
        let mut stretches: Vec<(u64, u64)> = trace
            .calls
            .iter()
            .map(|call| (call.begin, call.end))
            .collect();
        stretches.extend(stops.iter().map(|stop| (stop.begin, stop.end)));
        stretches.extend(trace.events.iter().map(|event| (event.time, event.time)));
        let scale = Scale::new(stretches, LEFT, WIDTH - LEFT - RIGHT);

        let (endings, ending_rows) = place_labels(
            stops
                .iter()
                .map(|stop| {
                    let length = words::microseconds(stop.end - stop.begin);
                    let ending = words::ending(&stop.ending);
                    (
                        scale.place(stop.begin),
                        format!("stop of {length}: {ending}"),
                    )
                })
                .collect(),
            BOLD,
        );
        let mut classes = Vec::new();
        let mut wanted = Vec::new();
        if let Some(state) = &trace.state {
            wanted.push((
                scale.segments.first().map_or(LEFT, |segment| segment.left),
                state.clone(),
            ));
            classes.push("");
        }
        for event in &trace.events {
            let (label, class) = match &event.what {
                Happening::State(state) => (state.clone(), "change"),
                Happening::Mark(name) => (format!("⚑ {name}"), "mark"),
                Happening::Reset => ("reset".to_owned(), "mark"),
                Happening::Back(_) => continue,
            };
            wanted.push((scale.place(event.time), label));
            classes.push(class);
        }
        let (changes, change_rows) = place_labels(wanted, CHARACTER);
        let changes: Vec<(Label, &str)> = changes.into_iter().zip(classes).collect();

        let cpus = trace.cpus();
        let pitch = (600.0 / cpus.max(1) as f64).clamp(12.0, 34.0).floor();
        let labels_top = ENDINGS + ending_rows as f64 * ENDING_ROW + 6.0;
        let top = labels_top + change_rows as f64 * LABEL_ROW + 6.0;
        Picture {
            trace,
            stops,
            scale,
            cpus,
            pitch,
            endings,
            changes,
            labels_top,
            top,
            bottom: top + cpus as f64 * pitch,
        }
    }

    /// A lane's upper edge.
    fn lane(&self, cpu: usize) -> f64 {
        self.top + cpu as f64 * self.pitch
    }

    /// The gap between bars of neighbours, on each side.
    fn padding(&self) -> f64 {
        if self.pitch < 16.0 {
            1.5
        } else {
            4.0
        }
    }

    fn document(&self, title: &str) -> Document {
        let (cuts, rows) = self.cuts();
        let (legend, height) = self.legend(self.bottom + 36.0 + rows as f64 * LABEL_ROW);
        let parts = [
            self.lanes(),
            self.axis(),
            self.shading(),
            cuts,
            self.bars(),
            self.changes(),
            self.endings(),
            legend,
        ];
        let mut document = Document::new()
            .set("viewBox", (0, 0, WIDTH, height))
            .set("width", WIDTH)
            .set("height", height)
            .set("role", "img")
            .set("aria-labelledby", "title description")
            .add(tooltip(title).set("id", "title"))
            .add(
                Description::new()
                    .set("id", "description")
                    .add(Text::new(printable(&words::describe(self.trace)))),
            )
            .add(Style::new(include_str!("style.css")))
            .add(rectangle("paper", 0.0, 0.0, WIDTH, height))
            .add(text("title", LEFT, TITLE, title))
            .add(text("muted", LEFT, SUBTITLE, &self.subtitle()));
        for part in parts {
            document.append(part);
        }
        document
    }

    fn subtitle(&self) -> String {
        format!(
            "{}, {} in {}",
            words::count(self.cpus, "CPU"),
            words::count(self.trace.calls.len(), "SEAMCALL"),
            words::microseconds(self.trace.end() - self.trace.begin())
        )
    }

    /// The background of lanes, and the CPUs' numbers.
    fn lanes(&self) -> Group {
        let mut group = Group::new();
        let size = (self.pitch - 2.0).min(12.0);
        for cpu in 0..self.cpus {
            let y = self.lane(cpu);
            let class = if cpu % 2 == 0 { "lane" } else { "lane odd" };
            for segment in &self.scale.segments {
                let width = segment.right - segment.left;
                group.append(rectangle(class, segment.left, y, width, self.pitch));
            }
            group.append(
                text(
                    "",
                    LEFT - 8.0,
                    y + self.pitch / 2.0 + size * 0.36,
                    &format!("CPU {cpu}"),
                )
                .set("text-anchor", "end")
                .set("style", format!("font-size: {size}px")),
            );
        }
        group
    }

    /// The axis below the lanes.
    fn axis(&self) -> Group {
        let mut group = Group::new();
        let zero = self.trace.begin();
        let step = self.scale.step(80.0);
        // Where the last label ends.
        let mut free = 0.0;
        for segment in &self.scale.segments {
            let first = segment.begin.saturating_sub(zero).div_ceil(step) * step;
            let times = (0..).map(|number| first + number * step);
            for time in times.take_while(|time| zero + time <= segment.end) {
                let x = self.scale.place(zero + time);
                group.append(line("tick", x, self.top, x, self.bottom + 5.0));
                let label = words::grouped(time / 1000);
                let half = label.len() as f64 * CHARACTER / 2.0 + 2.0;
                if x - half >= free {
                    group.append(
                        text("muted", x, self.bottom + 18.0, &label).set("text-anchor", "middle"),
                    );
                    free = x + half;
                }
            }
        }
        group.add(text("muted", LEFT - 8.0, self.bottom + 18.0, "µs").set("text-anchor", "end"))
    }

    /// The stops: shaded for each CPU until it leaves.
    fn shading(&self) -> Group {
        let mut group = Group::new();
        for stop in self.stops {
            let (left, right) = (self.scale.place(stop.begin), self.scale.place(stop.end));
            let mut shade = Group::new().set("class", "stopped").add(tooltip(&format!(
                "all CPUs are stopped for {}: {}",
                words::microseconds(stop.end - stop.begin),
                words::ending(&stop.ending)
            )));
            for (cpu, time) in stop.left.iter().enumerate() {
                let width = (self.scale.place(*time) - left).max(THINNEST);
                shade.append(rectangle("stop", left, self.lane(cpu), width, self.pitch));
            }
            let height = self.bottom - self.top;
            let width = (right - left).max(THINNEST);
            shade.append(rectangle("edge", left, self.top, width, height));
            group.append(shade);
        }
        group
    }

    /// Where time is cut out, and how many rows of labels there are.
    fn cuts(&self) -> (Group, usize) {
        let mut group = Group::new();
        let mut rows = Rows { ends: Vec::new() };
        for two in self.scale.segments.windows(2) {
            let (from, to) = (two[0], two[1]);
            let middle = from.right + CUT_WIDTH / 2.0;
            for x in [middle - 3.0, middle + 3.0] {
                let mut path = format!("M{} {}", at(x), at(self.top));
                let mut y = self.top;
                let mut side = 3.0;
                while y + 6.0 <= self.bottom {
                    path += &format!("l{side} 6");
                    side = -side;
                    y += 6.0;
                }
                group.append(Path::new().set("class", "cut").set("d", path));
            }
            let label = format!("+{}", words::microseconds(to.begin - from.end));
            let width = label.chars().count() as f64 * CHARACTER + 6.0;
            let row = rows.row(middle - width / 2.0, width) as f64;
            group.append(
                text(
                    "muted",
                    middle,
                    self.bottom + 33.0 + row * LABEL_ROW,
                    &label,
                )
                .set("text-anchor", "middle"),
            );
        }
        (group, rows.ends.len())
    }

    /// SEAMCALLs.
    fn bars(&self) -> Group {
        let mut group = Group::new();
        let mut labels = Group::new();
        // When the next bar begins in the same lane.
        let mut lanes = vec![None; self.cpus];
        let mut next_bars = vec![None; self.trace.calls.len()];
        for (index, call) in self.trace.calls.iter().enumerate().rev() {
            next_bars[index] = lanes[call.cpu].replace(call.begin);
        }
        for (index, call) in self.trace.calls.iter().enumerate() {
            let left = self.scale.place(call.begin);
            let width = (self.scale.place(call.end) - left).max(THINNEST);
            let y = self.lane(call.cpu) + self.padding();
            let height = self.pitch - 2.0 * self.padding();
            let kind = Kind::of(&call.leaf);
            let class = match call.failed {
                true => format!("call {} failed", kind.class()),
                false => format!("call {}", kind.class()),
            };
            group.append(
                rectangle(&class, left, y, width, height)
                    .set("data-leaf", call.leaf.as_str())
                    .set("data-cpu", call.cpu)
                    .set("data-begin", call.begin)
                    .set("data-end", call.end)
                    .add(tooltip(&self.sentence(call))),
            );
            let middle = y + height / 2.0;
            let name = short(&call.leaf);
            // A cross beside the name needs room too.
            let beside = if call.failed { 36.0 } else { 0.0 };
            let is_named = height >= 14.0 && width >= name.len() as f64 * 7.0 + 6.0 + beside;
            if is_named {
                labels.append(
                    text("inside", left + width / 2.0, middle + 4.0, name)
                        .set("text-anchor", "middle"),
                );
            }
            if call.failed {
                let size = (height / 2.0).min(6.0);
                let x = if is_named {
                    left + width - 12.0
                } else {
                    left + width / 2.0
                };
                let cross = format!(
                    "M{} {}l{s} {s}m0 -{s}l-{s} {s}",
                    at(x - size),
                    at(middle - size),
                    s = at(size * 2.0)
                );
                labels.append(Path::new().set("class", "cross").set("d", cross));
                let next = next_bars[index].map_or(WIDTH - RIGHT, |next| self.scale.place(next));
                let size = call.result.chars().count() as f64 * CHARACTER + 14.0;
                let cut = self
                    .scale
                    .segments
                    .iter()
                    .find(|segment| segment.right >= left);
                let end = cut.map_or(next, |segment| next.min(segment.right));
                if left + width + size <= end {
                    labels.append(text(
                        "bad halo",
                        left + width + 10.0,
                        middle + 4.0,
                        &call.result,
                    ));
                }
            }
        }
        group.add(labels)
    }

    /// A call in a sentence.
    fn sentence(&self, call: &Call) -> String {
        let mut text = format!(
            "{} (version {}) on CPU {}: {}, from {} for {}",
            call.leaf,
            call.version,
            call.cpu,
            call.result,
            words::microseconds(call.begin - self.trace.begin()),
            words::microseconds(call.end - call.begin)
        );
        if call.fault {
            text += "; a fault was injected";
        }
        if let Some(remark) = &call.remark {
            text += "; ";
            text += remark;
        }
        text
    }

    /// State changes and marks, with a line down through the lanes.
    fn changes(&self) -> Group {
        let mut group = Group::new();
        if self.changes.is_empty() {
            return group;
        }
        group.append(
            text(
                "muted",
                LEFT - 8.0,
                self.labels_top + LABEL_ROW - 3.0,
                "module",
            )
            .set("text-anchor", "end"),
        );
        for (label, class) in &self.changes {
            let y = self.labels_top + label.row as f64 * LABEL_ROW;
            if !class.is_empty() {
                group.append(line(
                    class,
                    label.anchor,
                    y + 2.0,
                    label.anchor,
                    self.bottom,
                ));
            }
            group.append(text(
                "halo",
                label.left + 3.0,
                y + LABEL_ROW - 3.0,
                &label.text,
            ));
        }
        group
    }

    /// What became of each stop.
    fn endings(&self) -> Group {
        let mut group = Group::new();
        for (label, stop) in self.endings.iter().zip(self.stops) {
            let y = ENDINGS + label.row as f64 * ENDING_ROW;
            let class = match stop.ending {
                Ending::Updated => "ending halo",
                _ => "ending bad halo",
            };
            group.append(line("edge", label.anchor, y - 8.0, label.anchor, self.top));
            group.append(text(class, label.left + 4.0, y, &label.text));
        }
        group
    }

    /// The legend from `top` on, and where it ends.
    fn legend(&self, top: f64) -> (Group, f64) {
        let mut group = Group::new();
        let (mut x, mut y) = (LEFT, top);
        let mut place = |width: f64| {
            if x + width > WIDTH - RIGHT {
                (x, y) = (LEFT, y + 20.0);
            }
            let here = (x, y);
            x += width;
            here
        };
        let width = |label: &str| 18.0 + label.chars().count() as f64 * 6.6 + 18.0;

        let mut kinds: BTreeMap<Kind, usize> = BTreeMap::new();
        for call in &self.trace.calls {
            *kinds.entry(Kind::of(&call.leaf)).or_default() += 1;
        }
        for (kind, number) in kinds {
            let label = format!("{} ({})", kind.legend(), words::grouped(number as u64));
            let (x, y) = place(width(&label));
            group.append(rectangle(kind.class(), x, y, 12.0, 12.0));
            group.append(text("", x + 18.0, y + 10.0, &label));
        }
        if !self.stops.is_empty() {
            let (x, y) = place(width("all CPUs stopped"));
            group.append(rectangle("stop", x, y, 12.0, 12.0));
            group.append(rectangle("edge", x, y, 12.0, 12.0));
            group.append(text("", x + 18.0, y + 10.0, "all CPUs stopped"));
        }
        if self.trace.calls.iter().any(|call| call.failed) {
            let (x, y) = place(width("failed"));
            let cross = format!("M{} {}l8 8m0 -8l-8 8", at(x + 2.0), at(y + 2.0));
            group.append(Path::new().set("class", "cross").set("d", cross));
            group.append(text("", x + 18.0, y + 10.0, "failed"));
        }
        let is_state = |(_, class): &(Label, &str)| *class == "change";
        if self.changes.iter().any(is_state) {
            let (x, y) = place(width("state of the TDX module"));
            group.append(line("change", x + 6.0, y, x + 6.0, y + 12.0));
            group.append(text("", x + 18.0, y + 10.0, "state of the TDX module"));
        }
        if self.scale.segments.len() > 1 {
            let (x, y) = place(width("time cut out"));
            let zigzag = format!("M{} {}l3 4l-3 4l3 4", at(x + 4.0), at(y));
            group.append(Path::new().set("class", "cut").set("d", zigzag));
            group.append(text("", x + 18.0, y + 10.0, "time cut out"));
        }
        (group, y + 28.0)
    }
}
