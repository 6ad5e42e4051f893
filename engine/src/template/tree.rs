//! The tree of a Go template: checked once, and prepared so that the writer knows what it is given.
//!
//! Start at [`prepare`]. It walks every node once: unknown functions, refused functions, wrong numbers of arguments,
//! undefined variables and templates are found here, not when an event comes. Before every node it puts a [`Marker`], and after
//! every action that prints data a closing node, which `tracking` recognises. It never evaluates anything.

use std::collections::BTreeSet;
use std::sync::Arc;

use gotmpl::parse::{
    ActionNode, BranchNode, CommandNode, DefineNode, Expr, ListNode, Node, Number, PipeNode, Pos, TextNode,
};

use super::error::{Error, Fault, LineColumn, nearest};
use super::functions;
use super::single_quotes::Rewritten;
use super::tracking::{Layout, Manner, Marker, NOTE, marker_text};

/// A template's trees, ready to be rendered.
pub(super) struct Prepared {
    pub body: ListNode,
    pub defines: Vec<DefineNode>,
    /// By index: what each marking node marks.
    pub markers: Vec<Marker>,
    pub actions: Vec<Action>,
    pub close: Arc<str>,
    pub functions: BTreeSet<&'static str>,
    pub uses_event: bool,
    pub uses_event_list: bool,
    /// The first key of [`FOREIGN`] that it refers to, with its offset in the source.
    pub foreign: Option<(&'static str, usize)>,
}

/// What templates of Sveltos may see beside the event and its cluster: nothing here gives it.
const FOREIGN: [&str; 6] =
    ["InfrastructureProvider", "KubeadmControlPlane", "MatchingResource", "MatchingResources", "Resource", "Resources"];

/// What an error message wants to know about a node.
#[derive(Debug, Default)]
pub(super) struct Action {
    /// The fields and functions it names, with their offsets in the source.
    pub words: Vec<(String, usize)>,
}

/// The deepest that expressions may nest; the engine evaluates them recursively.
const EXPRESSION_DEPTH_MAX: usize = 64;

pub(super) fn prepare(
    name: &str,
    source: &str,
    rewritten: &Rewritten<'_>,
    body: ListNode,
    defines: Vec<DefineNode>,
) -> Result<Prepared, Error> {
    let mut templates = BTreeSet::new();
    for define in &defines {
        if !templates.insert(define.name.to_string()) {
            let place = LineColumn::at(source, rewritten.original(define.pos.offset));
            return Err(Error::Compile(Fault::new(
                name,
                place,
                format!("template `{}` is defined twice", define.name),
            )));
        }
    }
    let mut walk = Walk {
        name,
        source,
        rewritten,
        templates,
        variables: vec!["$".to_owned()],
        range_depth: 0,
        dot_depth: 0,
        expression_depth: 0,
        prepared: Prepared {
            body: ListNode { pos: body.pos, nodes: Vec::new() },
            defines: Vec::new(),
            markers: Vec::new(),
            actions: Vec::new(),
            close: "\u{FDD0}.".into(),
            functions: BTreeSet::new(),
            uses_event: false,
            uses_event_list: false,
            foreign: None,
        },
        action: Action::default(),
    };
    walk.prepared.body = walk.list(body)?;
    for mut define in defines {
        walk.variables = vec!["$".to_owned()];
        walk.range_depth = 0;
        // What it is called with is not known.
        walk.dot_depth = 1;
        define.body = walk.list(define.body)?;
        walk.prepared.defines.push(define);
    }
    Ok(walk.prepared)
}

struct Walk<'w> {
    name: &'w str,
    source: &'w str,
    rewritten: &'w Rewritten<'w>,
    templates: BTreeSet<String>,
    /// Names in scope, innermost last.
    variables: Vec<String>,
    range_depth: usize,
    /// How many `range` and `with` are around: inside of them the dot is not the root.
    dot_depth: usize,
    expression_depth: usize,
    prepared: Prepared,
    /// The node being walked.
    action: Action,
}

impl Walk<'_> {
    fn list(&mut self, list: ListNode) -> Result<ListNode, Error> {
        let in_scope = self.variables.len();
        let mut nodes = Vec::with_capacity(list.nodes.len() * 2);
        for node in list.nodes {
            match node {
                Node::Text(_) => nodes.push(node),
                Node::List(inner) => nodes.push(Node::List(self.list(inner)?)),
                Node::Define(_) => {}
                Node::Action(action) => self.action(action, &mut nodes)?,
                Node::If(branch) => {
                    let branch = self.branch(branch, (0, 0), &mut nodes)?;
                    nodes.push(Node::If(branch));
                }
                Node::With(branch) => {
                    let branch = self.branch(branch, (0, 1), &mut nodes)?;
                    nodes.push(Node::With(branch));
                }
                Node::Range(branch) => {
                    let branch = self.branch(branch, (1, 1), &mut nodes)?;
                    nodes.push(Node::Range(branch));
                }
                Node::Template(mut call) => {
                    if let Some(pipe) = &mut call.pipe {
                        self.pipe(pipe)?;
                    }
                    if !self.templates.contains(call.name.as_str()) {
                        let fault = self.fault(call.pos, format!("unknown template `{}`", call.name));
                        let meant = nearest(&call.name, self.templates.iter().map(String::as_str));
                        return Err(Error::Compile(match meant {
                            Some(meant) => fault.hint(format!("did you mean `{meant}`?")),
                            None => fault,
                        }));
                    }
                    self.marker(call.pos, None, &mut nodes);
                    nodes.push(Node::Template(call));
                }
                Node::Break(pos) | Node::Continue(pos) => {
                    if self.range_depth == 0 {
                        let word = if matches!(node, Node::Break(_)) { "break" } else { "continue" };
                        return Err(Error::Compile(self.fault(pos, format!("`{word}` outside of `range`"))));
                    }
                    nodes.push(node);
                }
            }
        }
        self.variables.truncate(in_scope);
        Ok(ListNode { pos: list.pos, nodes })
    }

    fn action(&mut self, mut action: ActionNode, nodes: &mut Vec<Node>) -> Result<(), Error> {
        self.pipe(&mut action.pipe)?;
        let prints_data = action.pipe.decl.is_empty() && pipe_uses_data(&action.pipe);
        let opens = prints_data.then(|| (manner(&action.pipe), layout(&action.pipe)));
        self.marker(action.pos, opens, nodes);
        if let Some(assignment) = set_in_place(&mut action) {
            nodes.push(Node::Action(assignment));
        }
        let pos = action.pos;
        if opens.is_some() {
            action.pipe.commands.push(CommandNode { pos, args: vec![Expr::Identifier(pos, NOTE.into())] });
        }
        nodes.push(Node::Action(action));
        if opens.is_some() {
            nodes.push(Node::Text(TextNode { pos, text: Arc::clone(&self.prepared.close) }));
        }
        Ok(())
    }

    /// A node with a body, around which there are so many loops more, and so many values of the dot.
    fn branch(
        &mut self,
        mut branch: BranchNode,
        (loops, dots): (usize, usize),
        nodes: &mut Vec<Node>,
    ) -> Result<BranchNode, Error> {
        let in_scope = self.variables.len();
        self.pipe(&mut branch.pipe)?;
        self.marker(branch.pos, None, nodes);
        self.range_depth += loops;
        self.dot_depth += dots;
        branch.body = self.list(branch.body)?;
        self.range_depth -= loops;
        self.dot_depth -= dots;
        if let Some(body) = branch.else_body {
            branch.else_body = Some(self.list(body)?);
        }
        self.variables.truncate(in_scope);
        Ok(branch)
    }

    /// Adds the marking node of what was just walked.
    fn marker(&mut self, pos: Pos, opens: Option<(Manner, Layout)>, nodes: &mut Vec<Node>) {
        let node = marker_text(self.prepared.markers.len());
        nodes.push(Node::Text(TextNode { pos, text: Arc::clone(&node) }));
        self.prepared.markers.push(Marker { node, opens, offset: self.rewritten.original(pos.offset) });
        self.prepared.actions.push(std::mem::take(&mut self.action));
    }

    fn pipe(&mut self, pipe: &mut PipeNode) -> Result<(), Error> {
        self.expression_depth += 1;
        if self.expression_depth > EXPRESSION_DEPTH_MAX {
            return Err(Error::Compile(self.fault(pipe.pos, "expressions nest too deep")));
        }
        // Only `printf "%c"` has a use for Go's rune.
        let calls_printf =
            |command: &CommandNode| matches!(command.args.first(), Some(Expr::Identifier(_, name)) if name == "printf");
        let keeps_runes = pipe.commands.iter().any(calls_printf);
        for (index, command) in pipe.commands.iter_mut().enumerate() {
            self.command(command, index > 0, keeps_runes)?;
        }
        self.expression_depth -= 1;
        for variable in &pipe.decl {
            if pipe.is_assign {
                self.variable(pipe.pos, variable)?;
            } else {
                self.variables.push(variable.to_string());
            }
        }
        Ok(())
    }

    fn command(&mut self, command: &mut CommandNode, piped: bool, keeps_runes: bool) -> Result<(), Error> {
        let called = match command.args.first() {
            Some(Expr::Identifier(_, name)) => Some(name.to_string()),
            Some(Expr::Chain(_, inner, _)) => match inner.as_ref() {
                Expr::Identifier(_, name) => Some(name.to_string()),
                _ => None,
            },
            _ => None,
        };
        if let Some(function) = &called {
            let arguments = command.args.len() - 1 + usize::from(piped);
            self.call(command.pos, function, arguments)?;
            if matches!(function.as_str(), "index" | "get" | "hasKey" | "dig" | "pluck" | "pick") {
                for arg in &command.args {
                    if let Expr::String(_, text) = arg {
                        self.note_event(text);
                    }
                }
            }
        }
        // Sveltos calls a resource by its identifier there.
        if called.as_deref().is_some_and(functions::takes_resource)
            && let Some(resource @ Expr::String(..)) = command.args.get_mut(1)
            && let Expr::String(pos, identifier) = &*resource
        {
            *resource = Expr::Variable(*pos, "$".into(), vec!["MgmtResources".into(), (&**identifier).into()]);
        }
        let is_call = called.is_some();
        for arg in command.args.iter_mut().skip(usize::from(is_call)) {
            if !keeps_runes {
                self.rune_to_string(arg);
            }
            self.expression(arg)?;
        }
        Ok(())
    }

    fn call(&mut self, pos: Pos, function: &str, arguments: usize) -> Result<(), Error> {
        if let Some(why) = functions::refused(function) {
            let fault = self.fault(pos, format!("function `{function}` is refused: {why}"));
            return Err(Error::Refused(match functions::instead_of(function) {
                Some(instead) => fault.hint(instead),
                None => fault,
            }));
        }
        let Some(known) = functions::lookup(function) else {
            let fault = self.fault(pos, format!("unknown function `{function}`"));
            return Err(Error::Compile(match nearest(function, functions::names()) {
                Some(meant) => fault.hint(format!("did you mean `{meant}`?")),
                None => fault,
            }));
        };
        if let Some(wanted) = known.arity_mismatch(arguments) {
            let message = format!("function `{function}` takes {wanted}, not {arguments}");
            return Err(Error::Compile(self.fault(pos, message)));
        }
        self.action.words.push((function.to_owned(), self.rewritten.original(pos.offset)));
        self.prepared.functions.insert(known.name);
        Ok(())
    }

    /// `'x'` is a string here as `'xy'` is.
    fn note_foreign(&mut self, pos: Pos, root: Option<&str>) {
        let foreign = FOREIGN.into_iter().find(|foreign| Some(*foreign) == root);
        if let (None, Some(foreign)) = (self.prepared.foreign, foreign) {
            self.prepared.foreign = Some((foreign, self.rewritten.original(pos.offset)));
        }
    }

    fn rune_to_string(&self, arg: &mut Expr) {
        if let Expr::Number(pos, Number::Int(code)) = arg
            && self.rewritten.source.as_bytes().get(pos.offset) == Some(&b'\'')
            && let Some(character) = u32::try_from(*code).ok().and_then(char::from_u32)
        {
            *arg = Expr::String(*pos, character.to_string().into());
        }
    }

    fn expression(&mut self, expression: &mut Expr) -> Result<(), Error> {
        match expression {
            Expr::Dot(_) | Expr::String(..) | Expr::Number(..) | Expr::Bool(..) | Expr::Nil(_) => Ok(()),
            Expr::Field(pos, fields) => {
                self.fields(*pos, fields.iter().map(|field| field.as_str()));
                let first = fields.first().map(|field| field.as_str());
                self.note_event(first.unwrap_or_default());
                if self.dot_depth == 0 {
                    self.note_foreign(*pos, first);
                }
                Ok(())
            }
            Expr::Variable(pos, variable, fields) => {
                self.variable(*pos, variable)?;
                self.fields(*pos, fields.iter().map(|field| field.as_str()));
                let first = fields.first().map(|field| field.as_str());
                self.note_event(first.unwrap_or_default());
                if variable == "$" {
                    self.note_foreign(*pos, first);
                }
                Ok(())
            }
            Expr::Identifier(pos, function) => self.call(*pos, function, 0),
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Chain(pos, inner, fields) => {
                self.expression(inner)?;
                self.fields(*pos, fields.iter().map(|field| field.as_str()));
                Ok(())
            }
        }
    }

    /// Remembers that a template asks for the event, or for the list of events.
    fn note_event(&mut self, name: &str) {
        self.prepared.uses_event |= name == "CloudEvent";
        self.prepared.uses_event_list |= name == "CloudEvents";
    }

    /// Remembers where each field of a chain is written.
    fn fields<'f>(&mut self, pos: Pos, fields: impl Iterator<Item = &'f str>) {
        let mut at = pos.offset;
        for field in fields {
            let found = self.rewritten.source.get(at..).and_then(|rest| rest.find(field));
            let offset = at + found.unwrap_or(0);
            self.action.words.push((field.to_owned(), self.rewritten.original(offset)));
            at = offset + field.len() * usize::from(found.is_some());
        }
    }

    fn variable(&self, pos: Pos, variable: &str) -> Result<(), Error> {
        if self.variables.iter().any(|known| known == variable) {
            return Ok(());
        }
        let fault = self.fault(pos, format!("unknown variable `{variable}`"));
        Err(Error::Compile(
            match nearest(variable, self.variables.iter().map(String::as_str).filter(|name| *name != "$")) {
                Some(meant) => fault.hint(format!("did you mean `{meant}`?")),
                None => fault,
            },
        ))
    }

    fn fault(&self, pos: Pos, message: impl Into<String>) -> Box<Fault> {
        Fault::new(self.name, LineColumn::at(self.source, self.rewritten.original(pos.offset)), message)
    }
}

/// Whether anything but literals and functions of literals goes into a pipeline. What does not is the author's own text.
fn pipe_uses_data(pipe: &PipeNode) -> bool {
    pipe.commands.iter().flat_map(|command| &command.args).any(expression_uses_data)
}

fn expression_uses_data(expression: &Expr) -> bool {
    match expression {
        Expr::Dot(_) | Expr::Field(..) | Expr::Variable(..) => true,
        Expr::String(..) | Expr::Number(..) | Expr::Bool(..) | Expr::Nil(_) | Expr::Identifier(..) => false,
        Expr::Pipe(_, pipe) => pipe_uses_data(pipe),
        Expr::Chain(_, inner, _) => expression_uses_data(inner),
    }
}

/// How the output of a pipeline may look, which its last function decides.
fn manner(pipe: &PipeNode) -> Manner {
    let Some((last, before)) = pipe.commands.split_last() else {
        return Manner::Value;
    };
    match last.args.as_slice() {
        [Expr::Identifier(_, function), args @ ..] => match function.as_str() {
            "toYaml" | "toJson" | "toPrettyJson" | "toRawJson" | "mustToJson" | "mustToPrettyJson"
            | "mustToRawJson" | "copy" | "setField" | "removeField" => Manner::Structure,
            "quote" | "squote" => Manner::Quoted,
            // Layout keeps what it lays out.
            "indent" | "nindent" | "trim" => match (before, args.last()) {
                ([.., _], _) => manner(&PipeNode { commands: before.to_vec(), ..pipe.clone() }),
                ([], Some(Expr::Pipe(_, inner))) => manner(inner),
                _ => Manner::Value,
            },
            _ => Manner::Value,
        },
        [Expr::Pipe(_, inner)] => manner(inner),
        _ => Manner::Value,
    }
}

/// What a pipeline does to the lines of its value, which its last function decides.
fn layout(pipe: &PipeNode) -> Layout {
    match pipe.commands.as_slice() {
        [only] if matches!(only.args.as_slice(), [Expr::Dot(_) | Expr::Field(..) | Expr::Variable(..)]) => Layout::AsIs,
        [.., last] => match last.args.as_slice() {
            [Expr::Identifier(_, function), Expr::Number(_, Number::Int(blanks)), ..]
                if matches!(function.as_str(), "indent" | "nindent") =>
            {
                usize::try_from(*blanks).map_or(Layout::Unknown, Layout::Indented)
            }
            _ => Layout::Unknown,
        },
        [] => Layout::Unknown,
    }
}

/// Go's `set` and `unset`, and two of Sveltos' functions, change the dict a variable holds. Values here never change, so
/// `{{ $_ := set $d "a" 1 }}` becomes `{{ $d = set $d "a" 1 }}{{ $_ := $d }}`.
fn set_in_place(action: &mut ActionNode) -> Option<ActionNode> {
    let [CommandNode { args, .. }] = action.pipe.commands.as_slice() else {
        return None;
    };
    let [Expr::Identifier(_, function), Expr::Variable(pos, variable, fields), ..] = args.as_slice() else {
        return None;
    };
    if !matches!(function.as_str(), "set" | "unset" | "chainSetField" | "chainRemoveField")
        || !fields.is_empty()
        || variable == "$"
    {
        return None;
    }
    let (pos, variable) = (*pos, variable.clone());
    let mut assignment = action.clone();
    assignment.pipe.decl = vec![variable.clone()];
    assignment.pipe.is_assign = true;
    action.pipe.commands = vec![CommandNode { pos, args: vec![Expr::Variable(pos, variable, Vec::new())] }];
    Some(assignment)
}
