use super::answer::{EmbeddingsAnswer, InvalidAnswer};
use super::*;

fn vectors(json: &str, texts: usize) -> Result<Vec<Vec<f32>>, InvalidAnswer> {
    let answer: EmbeddingsAnswer = serde_json::from_str(json).unwrap();
    let vectors = answer.vectors(texts, 2.try_into().unwrap())?;
    Ok(vectors.iter().map(|vector: &Vector| vector.as_dense().to_vec()).collect())
}

#[test]
fn an_answer_has_one_vector_for_each_text_whatever_order_they_come_in() {
    let one = r#"{"object":"list","data":[{"object":"embedding","index":1,"embedding":[3,4]},
        {"index":0,"embedding":[1,2]}],"model":"m","usage":{"total_tokens":1}}"#;
    assert_eq!(vectors(one, 2), Ok(vec![vec![1.0, 2.0], vec![3.0, 4.0]]));
    assert_eq!(vectors(r#"{"data":[{"embedding":[1,2]}]}"#, 1), Ok(vec![vec![1.0, 2.0]]));
    assert_eq!(vectors(one, 3), Err(InvalidAnswer::Count { expected: 3, found: 2 }));
    assert_eq!(vectors(one, 1), Err(InvalidAnswer::Count { expected: 1, found: 2 }));
    for twice in ["0", "2"] {
        let json =
            format!(r#"{{"data":[{{"index":0,"embedding":[1,2]}},{{"index":{twice},"embedding":[1,2]}}]}}"#);
        assert_eq!(vectors(&json, 2), Err(InvalidAnswer::Count { expected: 2, found: 2 }));
    }
    for (numbers, unfit) in [
        ("1", InvalidAnswer::Dimension { expected: 2, found: 1 }),
        ("1,2,3", InvalidAnswer::Dimension { expected: 2, found: 3 }),
        ("0,-0.0", InvalidAnswer::Numbers),
        ("1,1e39", InvalidAnswer::Numbers),
    ] {
        assert_eq!(
            vectors(&format!(r#"{{"data":[{{"embedding":[{numbers}]}}]}}"#), 1),
            Err(unfit),
            "{numbers}"
        );
    }
}
