//! The contract's `required` lists and the models of the hub's own answers say the same.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::UsagePage;
use crate::models::{KeysAnswer, PlansAnswer, TenantsAnswer, UsageTotalsAnswer};

type Read = fn(Value) -> Result<(), serde_json::Error>;

fn reads<T: DeserializeOwned>(answer: Value) -> Result<(), serde_json::Error> {
    serde_json::from_value::<T>(answer).map(drop)
}

#[test]
fn what_the_contract_requires_has_to_be_there_and_what_it_does_not_may_be_missing() {
    let contract: Value =
        serde_saphyr::from_str(include_str!("../../../../../docs/hivehub.openapi.yaml")).unwrap();
    let samples: [(&str, Value, Read); 5] = [
        ("UsagePage", json!({"events": [], "next": null}), reads::<UsagePage>),
        ("UsageTotals", json!({"totals": []}), reads::<UsageTotalsAnswer>),
        ("Plans", json!({"plans": [], "next": null}), reads::<PlansAnswer>),
        ("Tenants", json!({"tenants": [], "next": null}), reads::<TenantsAnswer>),
        ("Keys", json!({"keys": [], "next": null}), reads::<KeysAnswer>),
    ];
    for (schema, answer, read) in samples {
        let promised = &contract["components"]["schemas"][schema];
        let required: BTreeSet<&str> =
            promised["required"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        assert!(read(answer.clone()).is_ok(), "{schema}: {answer}");
        for field in promised["properties"].as_object().unwrap().keys() {
            let mut without = answer.clone();
            assert!(without.as_object_mut().unwrap().remove(field).is_some(), "{schema}: no {field}");
            match read(without) {
                Ok(()) => assert!(!required.contains(field.as_str()), "{schema} is read without {field}"),
                Err(error) => {
                    assert!(required.contains(field.as_str()), "{schema} needs {field}: {error}");
                    assert!(error.to_string().starts_with(&format!("missing field `{field}`")), "{error}");
                }
            }
        }
    }
}
