//! What the house rules look at: every file of the checkout, and Rust files parsed.

use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// The checkout.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in a workspace").to_owned()
}

/// Any file that people read, with its path from the root.
pub(super) struct TextFile {
    pub path: String,
    pub text: String,
}

impl TextFile {
    /// All of them: sources, scripts, manifests, documents.
    pub(super) fn all() -> Vec<Self> {
        let mut found = Vec::new();
        collect(&root(), &root(), &mut found);
        assert!(found.len() > 10, "the checkout is not where it was expected");
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }

    /// Numbers of the lines that contain one of the needles.
    pub(super) fn lines_with(&self, needles: &[String]) -> impl Iterator<Item = usize> {
        self.text
            .lines()
            .enumerate()
            .filter(|(_, line)| needles.iter().any(|needle| line.contains(needle.as_str())))
            .map(|(index, _)| index + 1)
    }
}

/// Build results and what version control keeps; everything else is ours.
const NOT_OURS: &[&str] = &["target", ".git", "node_modules"];
const LONGEST_TEXT_BYTES: u64 = 4 << 20;

fn collect(folder: &Path, root: &Path, found: &mut Vec<TextFile>) {
    let entries = fs::read_dir(folder).expect("a folder of the checkout can be read");
    for entry in entries {
        let entry = entry.expect("an entry of the checkout can be read");
        let kind = entry.file_type().expect("an entry has a type");
        let path = entry.path();
        if NOT_OURS.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if kind.is_dir() {
            collect(&path, root, found);
        } else if kind.is_file() && entry.metadata().is_ok_and(|about| about.len() <= LONGEST_TEXT_BYTES) {
            // What is not UTF-8 is not prose or code.
            if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root).expect("the walk stays below the root");
                found.push(TextFile { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
}

pub(super) struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

pub(super) struct UnsafeUse {
    pub line: usize,
    /// Under a `SAFETY:` comment.
    pub explained: bool,
}

/// A parsed Rust file. What stands under `#[cfg(test)]` is left out of everything but `unsafe_uses`.
pub(super) struct RustFile {
    pub path: String,
    pub lines: usize,
    pub functions: Vec<Function>,
    /// Declared types, with their lines.
    pub types: Vec<(usize, String)>,
    /// The first segment of every path and `use`, with its line.
    pub paths: Vec<(usize, String)>,
    pub unsafe_uses: Vec<UnsafeUse>,
}

impl RustFile {
    pub(super) fn all() -> Vec<Self> {
        TextFile::all()
            .into_iter()
            .filter(|file| file.path.ends_with(".rs"))
            .map(|file| Self::parse(&file))
            .collect()
    }

    /// All but tests, benchmarks and fuzz targets.
    pub(super) fn product() -> Vec<Self> {
        let is_test = |path: &str| {
            path.split('/').any(|part| matches!(part, "tests" | "benches" | "fuzz" | "tests.rs" | "build.rs"))
        };
        TextFile::all()
            .into_iter()
            .filter(|file| file.path.ends_with(".rs") && !is_test(&file.path))
            .map(|file| Self::parse(&file))
            .collect()
    }

    fn parse(file: &TextFile) -> Self {
        let syntax = syn::parse_file(&file.text);
        assert!(syntax.is_ok(), "{}: {:?}", file.path, syntax.err());
        let mut parsed = Self {
            path: file.path.clone(),
            lines: file.text.lines().count(),
            functions: Vec::new(),
            types: Vec::new(),
            paths: Vec::new(),
            unsafe_uses: Vec::new(),
        };
        let lines: Vec<&str> = file.text.lines().collect();
        let mut reader = Reader { parsed: &mut parsed, lines, in_test: false };
        reader.visit_file(&syntax.expect("checked one line above"));
        parsed
    }
}

struct Reader<'a> {
    parsed: &'a mut RustFile,
    lines: Vec<&'a str>,
    in_test: bool,
}

impl Reader<'_> {
    fn function(&mut self, name: &syn::Ident, signature: Span, end: Span) {
        let line = signature.start().line;
        if !self.in_test {
            let lines = end.end().line + 1 - line;
            self.parsed.functions.push(Function { name: name.to_string(), line, lines });
        }
    }

    fn path_start(&mut self, name: &syn::Ident) {
        if !self.in_test {
            self.parsed.paths.push((name.span().start().line, name.to_string()));
        }
    }

    fn type_name(&mut self, name: &syn::Ident) {
        if !self.in_test {
            self.parsed.types.push((name.span().start().line, name.to_string()));
        }
    }

    fn unsafe_at(&mut self, span: Span) {
        let line = span.start().line;
        let above = self.lines[..line - 1].iter().rev().take_while(|text| {
            let text = text.trim_start();
            text.starts_with("//") || text.starts_with("#[")
        });
        let explained = above.into_iter().any(|text| text.contains("SAFETY:"));
        self.parsed.unsafe_uses.push(UnsafeUse { line, explained });
    }
}

fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test")))
    })
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let before = self.in_test;
        self.in_test |= is_test_only(&item.attrs);
        visit::visit_item_mod(self, item);
        self.in_test = before;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let before = self.in_test;
        self.in_test |= is_test_only(&item.attrs);
        self.function(&item.sig.ident, item.sig.span(), item.block.span());
        visit::visit_item_fn(self, item);
        self.in_test = before;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig.ident, item.sig.span(), item.block.span());
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.function(&item.sig.ident, item.sig.span(), block.span());
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.type_name(&item.ident);
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.type_name(&item.ident);
        visit::visit_item_enum(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.type_name(&item.ident);
        visit::visit_item_trait(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let mut trees = vec![&item.tree];
        while let Some(tree) = trees.pop() {
            match tree {
                syn::UseTree::Path(path) => self.path_start(&path.ident),
                syn::UseTree::Name(name) => self.path_start(&name.ident),
                syn::UseTree::Rename(name) => self.path_start(&name.ident),
                syn::UseTree::Group(group) => trees.extend(&group.items),
                syn::UseTree::Glob(_) => {}
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.path_start(&path.segments[0].ident);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.unsafe_at(block.unsafe_token.span);
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let before = self.in_test;
        self.in_test |= is_test_only(&item.attrs);
        if let Some(token) = &item.unsafety {
            self.unsafe_at(token.span);
        }
        visit::visit_item_impl(self, item);
        self.in_test = before;
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let Some(token) = &signature.unsafety {
            self.unsafe_at(token.span);
        }
        visit::visit_signature(self, signature);
    }
}
