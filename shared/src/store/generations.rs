//! Which generation of their signing secret each user has; the secrets themselves are derived.

use aws_sdk_dynamodb::{
    Client,
    operation::update_item::UpdateItemError,
    types::{ReturnValue, ReturnValuesOnConditionCheckFailure},
};
use ulid::Ulid;

use crate::{
    domain::{error::Error, id::UserId, signature::Generation, time::Timestamp},
    store::{
        item::{from_item, number, text},
        key::generation_key,
        write::Write,
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

    /// Goes on to the next generation, once: the token tells a repetition after a lost reply.
    pub async fn rotate(&self, user: &UserId) -> Result<Generation, Error> {
        let rotated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(generation_key(user)))
            .update_expression("SET rotated_at = :now, rotation = :token ADD generation :one")
            .condition_expression("attribute_not_exists(rotation) OR rotation <> :token")
            .expression_attribute_values(":now", number(Timestamp::now().millis()))
            .expression_attribute_values(":token", text(Ulid::generate().to_string()))
            .expression_attribute_values(":one", number(1))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .write()
            .await;
        let item = match rotated {
            Ok(output) => output.attributes.unwrap_or_default(),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(repeated)) => {
                    repeated.item.clone().unwrap_or_default()
                }
                _ => return Err(Error::aws("rotate a secret")(error)),
            },
        };
        from_item(item)
    }
}
