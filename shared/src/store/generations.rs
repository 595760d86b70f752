//! Which generation of their signing secret each user has; the secrets themselves are derived.

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use ulid::Ulid;

use crate::{
    domain::{error::Error, id::UserId, signature::Generation, time::Timestamp},
    store::{
        item::{Item, from_item, number, text},
        key::generation_key,
        write::{Write, found, is_refused, is_written},
    },
};

#[derive(Debug, Clone)]
pub struct Generations {
    client: Client,
    table: String,
}

impl Generations {
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    pub async fn find(&self, user: &UserId) -> Result<Generation, Error> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(generation_key(user)))
            .consistent_read(true)
            .send()
            .await
            .map_err(Error::aws("read a secret's generation"))?;
        Ok(found.item.map(from_item).transpose()?.unwrap_or_default())
    }

    /// Goes on to the next generation, once.
    pub async fn rotate(&self, user: &UserId) -> Result<Generation, Error> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(generation_key(user)))
            .update_expression("SET rotated_at = :now, rotation = :token ADD generation :one")
            .condition_expression("attribute_not_exists(rotation) OR rotation <> :token");
        from_item(rotated(update).await?.unwrap_or_default())
    }
}

/// Goes on to the next generation by an update that notes `:token` as its `rotation`, and is refused where
/// that is noted already: after a lost reply it is ours. Returns the item by then; `None` where the update
/// was refused for another reason.
pub(super) async fn rotated(update: UpdateItemFluentBuilder) -> Result<Option<Item>, Error> {
    let token = text(Ulid::generate().to_string());
    let updated = update
        .expression_attribute_values(":now", number(Timestamp::now().millis()))
        .expression_attribute_values(":token", token.clone())
        .expression_attribute_values(":one", number(1))
        .return_values(ReturnValue::AllNew)
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .write()
        .await;
    match updated {
        Ok(output) => Ok(output.attributes),
        Err(error) if is_written(&error, "rotation", &token) => Ok(found(&error).cloned()),
        Err(error) if is_refused(&error) => Ok(None),
        Err(error) => Err(Error::aws("rotate a secret")(error)),
    }
}
