//! Tokens of live tasks as the fold knows them.
//!
//! A token is here as long as it can be worth something: it leaves with its end, its revocation or its task.

use ambit_core::{
    TaskId, Timestamp, TokenId,
    limits::SPENT_PER_FAMILY_MAX,
    token::{Grant, IssuedToken, Reach, TokenKind},
};

use super::{
    FoldError, State,
    fold::{inconsistent, missing},
    rows::RowKey,
};

/// A token of a live task.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEntry {
    /// The leaf that issued it.
    pub leaf: u64,
    /// The token.
    pub token: IssuedToken,
    /// Whether it was used up.
    pub standing: TokenUse,
}

/// Whether a token was used up. That its time passed is a predicate, not a standing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenUse {
    /// It was not.
    Unspent,
    /// A refresh token that was spent: whoever shows it again ends its family.
    Spent,
}

impl TokenUse {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Unspent, Self::Spent];

    /// Returns the word that rows use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspent => "unspent",
            Self::Spent => "spent",
        }
    }
}

impl State {
    /// Returns the token `id` of a live task, also when its time has passed.
    pub fn token(&self, id: TokenId) -> Option<&TokenEntry> {
        self.tokens.get(&id)
    }

    /// Iterates over the tokens of a live task, oldest first.
    pub fn tokens_of(&self, task: TaskId) -> impl Iterator<Item = &TokenEntry> {
        let ids = self.tokens_of.get(&task).into_iter().flatten();
        ids.filter_map(|it| self.tokens.get(it))
    }

    /// Returns a token of a family, spent or not, when there is one still.
    pub(crate) fn of_family(&self, task: TaskId, family: TokenId) -> Option<TokenId> {
        let mut all = self.tokens_of(task);
        all.find(|it| it.token.family == family)
            .map(|it| it.token.id)
    }

    pub(super) fn issue(
        &mut self,
        (index, at): (u64, Timestamp),
        token: &IssuedToken,
    ) -> Result<(), FoldError> {
        self.expect_active(index, token.task)?;
        if self.tokens.contains_key(&token.id) {
            return Err(FoldError::Twice {
                index,
                what: token.id.to_string(),
            });
        }
        if let Some(parent) = token.parent
            && token.grant == Grant::RefreshToken
            && matches!(token.kind, TokenKind::Refresh { .. })
        {
            self.spend_refresh(index, parent)?;
        }
        let over = self.tokens_of(token.task);
        let over = over.filter(|it| it.token.expires_at <= at);
        let over: Vec<_> = over.map(|it| it.token.id).collect();
        for id in over {
            self.drop_token(token.task, id);
        }
        self.keep_token(TokenEntry {
            leaf: index,
            token: token.clone(),
            standing: TokenUse::Unspent,
        });
        self.touch(RowKey::Token(token.id));
        Ok(())
    }

    /// Spends the refresh token that another one of its family takes the place of. The oldest of many that were spent
    /// is forgotten.
    fn spend_refresh(&mut self, index: u64, id: TokenId) -> Result<(), FoldError> {
        let entry = self.tokens.get_mut(&id);
        let entry = entry.ok_or_else(|| missing(index, &id))?;
        if entry.standing == TokenUse::Spent {
            return Err(inconsistent(index, "a refresh token is spent once"));
        }
        entry.standing = TokenUse::Spent;
        let (task, family) = (entry.token.task, entry.token.family);
        self.touch(RowKey::Token(id));
        let spent = self.tokens_of(task);
        let spent = spent.filter(|it| it.token.family == family && it.standing == TokenUse::Spent);
        let spent: Vec<_> = spent.map(|it| it.token.id).collect();
        let forgotten = spent.len().saturating_sub(SPENT_PER_FAMILY_MAX);
        for id in spent.into_iter().take(forgotten) {
            self.drop_token(task, id);
        }
        Ok(())
    }

    pub(super) fn revoke_token(
        &mut self,
        index: u64,
        id: TokenId,
        reach: Reach,
    ) -> Result<(), FoldError> {
        let entry = self.tokens.get(&id).ok_or_else(|| missing(index, &id))?;
        let (task, family) = (entry.token.task, entry.token.family);
        if reach == Reach::Token {
            self.drop_token(task, id);
            return Ok(());
        }
        let all = self.tokens_of(task);
        let all = all.filter(|it| it.token.family == family);
        let all: Vec<_> = all.map(|it| it.token.id).collect();
        for id in all {
            self.drop_token(task, id);
        }
        Ok(())
    }

    /// Drops the tokens of a task that ended: they are worth nothing from now on.
    pub(super) fn drop_tokens(&mut self, task: TaskId) {
        for id in self.tokens_of.remove(&task).unwrap_or_default() {
            self.tokens.remove(&id);
            self.touch(RowKey::Token(id));
        }
    }

    pub(super) fn keep_token(&mut self, entry: TokenEntry) {
        let (id, task) = (entry.token.id, entry.token.task);
        self.tokens_of.entry(task).or_default().insert(id);
        self.tokens.insert(id, entry);
    }

    fn drop_token(&mut self, task: TaskId, id: TokenId) {
        self.tokens.remove(&id);
        if let Some(ids) = self.tokens_of.get_mut(&task) {
            ids.remove(&id);
        }
        self.touch(RowKey::Token(id));
    }
}
