//! Where things are: the rooms of `shared` import one way, no two files lead to each other in a circle, and no file is
//! longer than can be read at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, Item, ItemUse, UseTree,
    visit::{self, Visit},
};

/// Each may import those before it.
const ROOMS: [&str; 5] = ["domain", "aws", "store", "http", "service"];

/// What nouns and rules have nothing to do with.
const OUTSIDE: [&str; 9] =
    ["aws_", "lambda_", "tokio", "reqwest", "hyper", "http", "rustls", "serde_dynamo", "metrique"];

/// A noun's file that uses one of them all the same, and why.
const ALL_THE_SAME: [(&str, &str, &str); 1] = [(
    "time",
    "aws_sdk_dynamodb",
    "its clock and calendar are in each function anyway; another is 30 KB more",
)];

const MAX_LINES: usize = 400;

/// A file that is longer all the same, and why.
const LONGER: [(&str, &str); 0] = [];

/// The modules of a crate, by their paths below its root, and the file of each.
fn modules(root: &Path) -> BTreeMap<Vec<String>, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") && name != "tests.rs" {
                let relative = path.strip_prefix(root).unwrap().with_extension("");
                let names = relative.iter().map(|name| name.to_str().unwrap().to_owned());
                found.insert(names.filter(|name| name != "main" && name != "lib").collect(), path);
            }
        }
    }
    found
}

/// What a file's code names, but for its tests.
#[derive(Default)]
struct Named {
    paths: BTreeSet<Vec<String>>,
    children: BTreeSet<String>,
    /// The types that it defines.
    types: BTreeSet<String>,
    /// The functions that it gives to types.
    methods: BTreeSet<(String, String)>,
    /// The functions that it calls of values.
    calls: BTreeSet<String>,
    /// How many modules of the file itself the visitor is in.
    inside: usize,
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|it| {
        it.path().is_ident("cfg") && it.parse_args::<syn::Ident>().is_ok_and(|it| it == "test")
    })
}

impl<'a> Visit<'a> for Named {
    fn visit_item(&mut self, item: &'a Item) {
        let attributes = match item {
            Item::Mod(it) => &it.attrs,
            Item::Use(it) => &it.attrs,
            Item::Fn(it) => &it.attrs,
            Item::Impl(it) => &it.attrs,
            _ => &Vec::new(),
        };
        if is_test(attributes) {
            return;
        }
        if let Item::Mod(it) = item
            && it.content.is_none()
        {
            self.children.insert(it.ident.to_string());
        }
        match item {
            Item::Struct(it) => drop(self.types.insert(it.ident.to_string())),
            Item::Enum(it) => drop(self.types.insert(it.ident.to_string())),
            Item::Impl(it) if it.trait_.is_none() => {
                if let syn::Type::Path(of) = &*it.self_ty
                    && let Some(of) = of.path.get_ident()
                {
                    let functions = it.items.iter().filter_map(|it| match it {
                        syn::ImplItem::Fn(it) => Some(it.sig.ident.to_string()),
                        _ => None,
                    });
                    self.methods.extend(functions.map(|it| (of.to_string(), it)));
                }
            }
            _ => {}
        }
        let inside = usize::from(matches!(item, Item::Mod(_)));
        self.inside += inside;
        visit::visit_item(self, item);
        self.inside -= inside;
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        self.add(&[], &item.tree);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        self.calls.insert(call.method.to_string());
        visit::visit_expr_method_call(self, call);
    }

    /// `pub(super)` names no code.
    fn visit_visibility(&mut self, _: &'a syn::Visibility) {}

    fn visit_path(&mut self, path: &'a syn::Path) {
        let names: Vec<_> = path.segments.iter().map(|it| it.ident.to_string()).collect();
        self.name(&names);
        visit::visit_path(self, path);
    }
}

impl Named {
    fn of(file: &Path) -> Self {
        let mut named = Self::default();
        named.visit_file(&syn::parse_file(&fs::read_to_string(file).unwrap()).unwrap());
        named
    }

    /// Whether it has to do with a type of this name, so that a call may be one of its functions.
    fn knows(&self, of: &str) -> bool {
        self.types.contains(of) || self.paths.iter().any(|path| path.iter().any(|name| name == of))
    }

    /// As it reads at the top of the file.
    fn name(&mut self, path: &[String]) {
        let own = path.iter().take(self.inside).take_while(|it| *it == "super").count();
        if own < path.len() {
            self.paths.insert(path[own..].to_vec());
        }
    }

    fn add(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(it) => self.add(&with(&it.ident), &it.tree),
            UseTree::Name(it) => self.name(&with(&it.ident)),
            UseTree::Rename(it) => self.name(&with(&it.ident)),
            UseTree::Glob(_) => self.name(before),
            UseTree::Group(group) => group.items.iter().for_each(|it| self.add(before, it)),
        }
    }
}

/// Of a function of a type: where it is, of which type, and whether that is defined there.
type Place<'a> = (&'a Vec<String>, &'a str, bool);

/// Which file uses which.
fn imports(root: &Path) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let modules = modules(root);
    let named: BTreeMap<_, _> =
        modules.iter().map(|(module, file)| (module, Named::of(file))).collect();
    // Of functions with one name nobody can tell from here which one is called.
    let mut places: BTreeMap<&str, Vec<Place<'_>>> = BTreeMap::new();
    for (module, file) in &named {
        for (of, function) in &file.methods {
            places.entry(function).or_default().push((module, of, file.types.contains(of)));
        }
    }
    let mut imports = BTreeMap::new();
    for (module, named) in &named {
        // A function that another file gives to a type is used without an import of that file.
        let given = named.calls.iter().map(String::as_str);
        let paths = named.paths.iter().filter(|path| path.len() > 1);
        let given = given.chain(paths.filter_map(|path| path.last().map(String::as_str)));
        let given = given.filter_map(|function| match places.get(function).map(Vec::as_slice) {
            Some([(place, of, false)]) if place != module && named.knows(of) => {
                Some((*place).clone())
            }
            _ => None,
        });
        let used = named.paths.iter().filter_map(|path| {
            let mut from = match path.first()?.as_str() {
                "crate" => Vec::new(),
                "self" => (*module).clone(),
                "super" => module[..module.len().checked_sub(1)?].to_vec(),
                first if named.children.contains(first) => {
                    [&module[..], &[first.to_owned()]].concat()
                }
                _ => return None,
            };
            for name in path.iter().skip(1) {
                match name.as_str() {
                    "super" => drop(from.pop()),
                    "self" => {}
                    name => from.push(name.to_owned()),
                }
            }
            // What is behind the name of a file is in it.
            while !modules.contains_key(&from) && from.pop().is_some() {}
            Some(from).filter(|used| used != *module && !used.is_empty())
        });
        imports.insert((*module).clone(), used.chain(given).collect());
    }
    imports
}

/// Files that lead to each other, in the order in which they do.
fn circle(imports: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Option<Vec<String>> {
    fn follow(
        imports: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
        way: &mut Vec<Vec<String>>,
        done: &mut BTreeSet<Vec<String>>,
    ) -> Option<Vec<String>> {
        let here = way.last()?.clone();
        for next in imports.get(&here).into_iter().flatten() {
            if let Some(start) = way.iter().position(|it| it == next) {
                return Some(way[start..].iter().map(|it| it.join("::")).collect());
            }
            if !done.contains(next) {
                way.push(next.clone());
                if let Some(found) = follow(imports, way, done) {
                    return Some(found);
                }
                way.pop();
            }
        }
        done.insert(here);
        None
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|start| follow(imports, &mut vec![start.clone()], &mut done))
}

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn roots() -> Vec<PathBuf> {
    let functions = fs::read_dir(top().join("functions")).unwrap();
    let functions = functions.map(|it| it.unwrap().path().join("src")).filter(|it| it.is_dir());
    let mut roots: Vec<_> = functions.collect();
    roots.extend(["shared/src", "infra/relayctl/src"].map(|it| top().join(it)));
    assert_eq!(roots.len(), 12);
    roots
}

#[test]
fn no_files_lead_to_each_other_in_a_circle() {
    for root in roots() {
        let found = circle(&imports(&root));
        assert_eq!(
            found,
            None,
            "in {}: whoever reads one of these must read all of them; what they share belongs in a file that imports none \
             of them, such as domain/id.rs",
            root.display()
        );
    }
}

#[test]
fn the_rooms_import_one_way() {
    let rank = |room: &str| ROOMS.iter().position(|it| *it == room);
    for (module, used) in imports(&top().join("shared/src")) {
        let Some(own) = module.first() else { continue };
        for other in used {
            assert!(
                rank(&other[0]) <= rank(own),
                "{} imports {}, which stands above it: a room may import those before it of {ROOMS:?}. Move what is needed \
                 down, or what needs it up.",
                module.join("::"),
                other.join("::")
            );
        }
    }
}

#[test]
fn nouns_and_rules_know_nothing_of_aws_and_http() {
    for (module, file) in modules(&top().join("shared/src/domain")) {
        let module = module.join("::");
        for path in Named::of(&file).paths {
            let outside = OUTSIDE
                .iter()
                .any(|it| path[0] == *it || it.ends_with('_') && path[0].starts_with(it));
            let all_the_same =
                ALL_THE_SAME.iter().any(|(file, used, _)| (*file, *used) == (&module, &path[0]));
            assert!(
                !outside || all_the_same,
                "domain::{module} uses {}: rules are tested, modelled and read without AWS and HTTP; what needs them \
                 belongs in another room",
                path.join("::")
            );
        }
    }
}

#[test]
fn no_file_is_longer_than_can_be_read_at_once() {
    for root in roots() {
        for (module, file) in modules(&root) {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let lines = code.lines().count();
            let name = file.strip_prefix(top()).unwrap().display().to_string();
            assert!(
                lines <= MAX_LINES || LONGER.iter().any(|(longer, _)| *longer == name),
                "{name} ({}) has {lines} lines without its tests, of at most {MAX_LINES}: it does more than one thing",
                module.join("::")
            );
        }
    }
}
