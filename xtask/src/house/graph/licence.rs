//! Licence expressions (SPDX 2.3, annex D), and the slash that older manifests write for OR.

/// Whether `expression` can be met with licences that `fits` accepts. What can't be read is not met.
pub(super) fn suits(expression: &str, fits: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader {
        words: &words,
        fits,
    };
    reader.any_of() == Some(true) && reader.words.is_empty()
}

struct Reader<'a> {
    words: &'a [&'a str],
    fits: &'a dyn Fn(&str) -> bool,
}

impl<'a> Reader<'a> {
    fn any_of(&mut self) -> Option<bool> {
        let mut met = self.all_of()?;
        while self.takes("OR") {
            met |= self.all_of()?;
        }
        Some(met)
    }

    fn all_of(&mut self) -> Option<bool> {
        let mut met = self.one()?;
        while self.takes("AND") {
            met &= self.one()?;
        }
        Some(met)
    }

    fn one(&mut self) -> Option<bool> {
        if self.takes("(") {
            let met = self.any_of()?;
            return self.takes(")").then_some(met);
        }
        let name = self.next()?;
        if matches!(name, "AND" | "OR" | "WITH" | ")") {
            return None;
        }
        if !self.takes("WITH") {
            return Some((self.fits)(name));
        }
        let exception = self.next()?;
        Some((self.fits)(&format!("{name} WITH {exception}")))
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.words.first() == Some(&word);
        if found {
            self.next();
        }
        found
    }

    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::suits;

    fn check(expression: &str, expected: bool) {
        let fits = |it: &str| matches!(it, "MIT" | "ISC" | "A WITH B");
        assert_eq!(suits(expression, &fits), expected, "{expression}");
    }

    #[test]
    fn expressions_mean_what_spdx_says() {
        check("MIT", true);
        check("GPL", false);
        check("GPL OR MIT", true);
        check("GPL/MIT", true);
        check("GPL AND MIT", false);
        check("MIT AND ISC", true);
        check("GPL OR MIT AND ISC", true);
        check("(GPL OR MIT) AND ISC", true);
        check("(GPL OR MIT) AND GPL", false);
        check("A WITH B OR GPL", true);
        check("A", false);
        for broken in ["", "MIT OR", "(MIT", "MIT ISC", "AND", "MIT)", "A WITH"] {
            check(broken, false);
        }
    }
}
