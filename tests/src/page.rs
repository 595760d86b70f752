//! A page of the documentation, as its reader finds it.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// One Markdown file of the repository.
#[derive(Debug)]
pub struct Page {
    /// From the repository's root.
    pub path: PathBuf,
    pub text: String,
}

/// A fenced block of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub language: String,
    /// Without the indent of the list that it stands in.
    pub code: String,
    /// Of its first line, from 1.
    pub line: usize,
    /// Whether nothing stands between this block and the one before.
    pub follows: bool,
}

/// The root of the repository.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

impl Page {
    #[must_use]
    pub fn read(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        let text = fs::read_to_string(root().join(&path)).unwrap();
        Self { path, text }
    }

    /// All that are written here, and none that is installed or built.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut pages = Vec::new();
        let mut folders = vec![root().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
                let is_ours = !name.starts_with('.') && name != "target" && name != "node_modules";
                if entry.file_type().unwrap().is_dir() {
                    folders.extend(is_ours.then_some(path));
                } else if path.extension().is_some_and(|it| it == "md") {
                    pages.push(Self::read(path.strip_prefix(root()).unwrap()));
                }
            }
        }
        pages
    }

    #[must_use]
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::<Block>::new();
        let mut lines = self.text.lines().enumerate();
        let mut is_bare = false;
        while let Some((index, line)) = lines.next() {
            let code = line.trim_start();
            let Some(language) = code.strip_prefix("```") else {
                is_bare &= code.is_empty();
                continue;
            };
            let indent = line.len() - code.len();
            let inside = lines.by_ref().map(|(_, line)| line).take_while(|it| it.trim() != "```");
            let code = inside.map(|line| format!("{}\n", line.get(indent..).unwrap_or_default()));
            blocks.push(Block {
                language: language.to_owned(),
                code: code.collect(),
                line: index + 2,
                follows: is_bare,
            });
            is_bare = true;
        }
        blocks
    }

    /// The blocks of code in one language.
    #[must_use]
    pub fn code(&self, language: &str) -> Vec<String> {
        let blocks = self.blocks().into_iter().filter(|block| block.language == language);
        blocks.map(|block| block.code).collect()
    }

    /// What stands between single backticks in the text.
    #[must_use]
    pub fn spans(&self) -> Vec<&str> {
        let mut outside = self.text.split("```").step_by(2);
        outside.by_ref().flat_map(|text| text.split('`').skip(1).step_by(2)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_taken_apart() {
        let text =
            "a `b c`\n```sh\nd\n\n```\n\n```json\n{}\n```\n- `e`\n  ```sh\n  f \\\n    g\n  ```\n";
        let page = Page { path: PathBuf::new(), text: text.to_owned() };

        let block = |language: &str, code: &str, line, follows| Block {
            language: language.to_owned(),
            code: code.to_owned(),
            line,
            follows,
        };
        let expected = [
            block("sh", "d\n\n", 3, false),
            block("json", "{}\n", 8, true),
            block("sh", "f \\\n  g\n", 12, false),
        ];
        assert_eq!(page.blocks(), expected);
        assert_eq!(page.code("json"), ["{}\n"]);
        assert_eq!(page.spans(), ["b c", "e"]);
    }
}
