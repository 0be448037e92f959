//! `#[workflow]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{ItemFn, Result};

use crate::activity::{as_call, item};
use crate::options::WorkflowOptions;
use crate::signature::{Function, Kind, conditions};

const KIND: Kind = Kind {
    what: "a workflow",
    context: "WorkflowContext",
    error: "WorkflowError",
    method: "a workflow is a free function: it has no `self`, because its state is its local variables",
};

pub(crate) fn expand(options: TokenStream, tokens: TokenStream) -> Result<TokenStream> {
    let options = WorkflowOptions::parse(options)?;
    let function: ItemFn = syn::parse2(tokens)?;
    let checked = Function::free(&function.sig, KIND)?;
    let Function { ident, name, .. } = &checked;
    let name = options.name.as_ref().unwrap_or(name);
    let queue = options.queue.as_deref().unwrap_or("default");
    let item = item(ident, &function.vis, &function.attrs);
    let call = as_call(&function);
    let conditions = conditions(&function.attrs);
    let (input, value) = (checked.input_type(), checked.value_type());
    let (pattern, arguments) = checked.take_apart();
    Ok(quote! {
        #item
        #(#conditions)*
        impl #ident {
            #call
        }
        #(#conditions)*
        impl ::stepwell::WorkflowDefinition for #ident {
            type Input = #input;
            type Output = #value;
            const NAME: &'static str = #name;
            const QUEUE: &'static str = #queue;

            async fn run(
                __context: ::stepwell::WorkflowContext,
                #pattern: #input,
            ) -> ::core::result::Result<#value, ::stepwell::WorkflowError> {
                ::stepwell::__private::convert_error(#ident::call(__context, #(#arguments),*).await)
            }
        }
    })
}
