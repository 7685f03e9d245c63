//! Quantities (`resource.Quantity`): Kubernetes takes them as numbers too (`cpu: 1`), and `k8s_openapi` as texts alone.
//! Nothing here reads what they say, but who writes one as a number has written a good pod.

use serde_json::Value;

/// Fields of pods and nodes that hold quantities by name.
const BY_NAME: [&str; 6] =
    ["limits", "requests", "overhead", "capacity", "allocatable", "allocatedResources"];
/// Fields that are one.
const SINGLE: [&str; 2] = ["sizeLimit", "divisor"];

/// The same object, with its quantities as texts.
pub(crate) fn as_texts(object: &Value) -> Value {
    let mut object = object.clone();
    rewrite(&mut object);
    object
}

fn rewrite(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.iter_mut().for_each(|(name, value)| match value {
            Value::Object(quantities) if BY_NAME.contains(&name.as_str()) => {
                quantities.values_mut().for_each(as_text);
            }
            value if SINGLE.contains(&name.as_str()) => as_text(value),
            value => rewrite(value),
        }),
        Value::Array(items) => items.iter_mut().for_each(rewrite),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn as_text(value: &mut Value) {
    if let Value::Number(number) = value {
        *value = Value::String(number.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_become_texts_where_quantities_are() {
        let pod = json!({"spec": {
            "containers": [{
                "resources": {"limits": {"cpu": 1, "memory": "1Gi"}, "requests": {"cpu": 0.5}},
                "ports": [{"containerPort": 80}],
                "env": [{"valueFrom": {"resourceFieldRef": {"divisor": 1, "resource": "limits.cpu"}}}],
            }],
            "overhead": {"cpu": true},
            "volumes": [{"emptyDir": {"sizeLimit": 1024}}],
        }});
        let want = json!({"spec": {
            "containers": [{
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "0.5"}},
                "ports": [{"containerPort": 80}],
                "env": [{"valueFrom": {"resourceFieldRef": {"divisor": "1", "resource": "limits.cpu"}}}],
            }],
            "overhead": {"cpu": true},
            "volumes": [{"emptyDir": {"sizeLimit": "1024"}}],
        }});
        assert_eq!(as_texts(&pod), want);
    }
}
